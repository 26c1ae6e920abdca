// The authorization server `oidc-provider` at Microsoft's paths, answering on loopback for a made-up host.
// Arguments: the folder with node_modules, and the settings as JSON. It prints its port, and ends with its standard input.
import http from "node:http";
import { pathToFileURL } from "node:url";

const [folder, text] = process.argv.slice(2);
const settings = JSON.parse(text);
const { default: Provider } = await import(pathToFileURL(`${folder}/node_modules/oidc-provider/lib/index.js`));

const tenant = `/${settings.tenant}`;
const provider = new Provider(settings.issuer, {
  clients: settings.clients,
  scopes: settings.scopes,
  claims: { openid: ["sub", "oid", "tid"], profile: ["name", "preferred_username"], email: ["email"] },
  conformIdTokenClaims: false, // Microsoft's ID tokens say who signed in
  findAccount: async (_context, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, ...settings.accounts[id] }),
  }),
  // Refresh tokens rotate; whoever uses one twice loses the grant.
  rotateRefreshToken: true,
  issueRefreshToken: async (_context, client) => client.grantTypeAllowed("refresh_token"),
  pkce: { required: () => true, methods: ["S256"] },
  features: { devInteractions: { enabled: false }, userinfo: { enabled: true } },
  interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
  routes: {
    authorization: `${tenant}/oauth2/v2.0/authorize`,
    token: `${tenant}/oauth2/v2.0/token`,
    jwks: `${tenant}/discovery/v2.0/keys`,
    userinfo: "/userinfo",
  },
  cookies: { keys: ["for the tests only"] },
});
provider.proxy = true; // the test speaks for https

async function agree(request, response) {
  // What a person would click: sign in as who is suggested, and accept everything that is asked for.
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId: params.login_hint } });
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

const answer = provider.callback();
const server = http.createServer((request, response) => {
  const path = request.url.split("?")[0];
  if (path.startsWith("/interaction/")) {
    agree(request, response).catch((trouble) => response.writeHead(500).end(String(trouble)));
    return;
  }
  if (path === `${tenant}/v2.0/.well-known/openid-configuration`) request.url = "/.well-known/openid-configuration";
  answer(request, response);
});
server.listen(0, "127.0.0.1", () => console.log(`port ${server.address().port}`));
process.stdin.resume().on("end", () => process.exit(0));
