// One message by nodemailer, as told by a JSON file; what the server refuses is printed, and the exit code is 1.
const { readFileSync } = require("node:fs");
const nodemailer = require("nodemailer");

const wish = JSON.parse(readFileSync(process.argv[2], "utf8"));
const transport = nodemailer.createTransport({
  host: "localhost",
  port: wish.port,
  secure: wish.implicit,
  requireTLS: !wish.implicit,
  auth: { user: wish.user, pass: wish.password },
  tls: { ca: [readFileSync(wish.certificate)] },
});

transport
  .sendMail({
    from: wish.sender,
    to: wish.recipient,
    subject: wish.subject,
    text: wish.text,
    attachments: [{ filename: wish.filename, path: wish.attachment, contentType: "application/pdf" }],
  })
  .then((told) => console.log(told.response))
  .catch((refused) => {
    console.error(`${refused.code} ${refused.message}`);
    process.exitCode = 1;
  });
