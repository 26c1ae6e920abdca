"""The set-up plan as a script for PowerShell, for a person to read and to run. Pure.

Cmdlets: Microsoft Learn, Microsoft Graph PowerShell SDK and Exchange Online PowerShell. It has never met a real tenant.
"""

from collections.abc import Iterator

from postroom.checks.setup_block import MARK
from postroom.checks.setup_plan import SECRET_DAYS, ChangeKind, SetupPlan
from postroom.remedies import quote_for_powershell as quoted

_GRAPH_APP = "00000003-0000-0000-c000-000000000000"
"""Microsoft Graph's own application id, the same in every tenant."""

_LINES: dict[ChangeKind, tuple[str, ...]] = {
    ChangeKind.REGISTER_APP: (
        f"$graph = Get-MgServicePrincipal -Filter \"appId eq '{_GRAPH_APP}'\"",
        "$access = @(foreach ($permission in $permissions) {",
        "    $scope = $graph.Oauth2PermissionScopes | Where-Object { $_.Value -eq $permission }",
        '    if (-not $scope) { throw "Microsoft Graph has no permission $permission." }',
        "    @{ Id = $scope.Id; Type = 'Scope' }",
        "})",
        "$resource = @{ ResourceAppId = $graph.AppId; ResourceAccess = $access }",
        "$app = New-MgApplication -DisplayName $appName -SignInAudience 'AzureADMyOrg' "
        "-Web @{ RedirectUris = @($redirectUrl) } -RequiredResourceAccess @($resource)",
        "$principal = New-MgServicePrincipal -AppId $app.AppId",
    ),
    ChangeKind.CONSENT: (
        "$account = Get-MgUser -UserId $username",
        "$grant = New-MgOauth2PermissionGrant -ClientId $principal.Id -ConsentType 'Principal' "
        "-PrincipalId $account.Id -ResourceId $graph.Id -Scope (($permissions + $identity) -join ' ')",
    ),
    ChangeKind.MAKE_SECRET: (
        f"$ends = (Get-Date).ToUniversalTime().AddDays({SECRET_DAYS})",
        "$secret = Add-MgApplicationPassword -ApplicationId $app.Id "
        "-PasswordCredential @{ DisplayName = 'Postroom'; EndDateTime = $ends }",
    ),
    ChangeKind.SWITCH_ON_SMTP_AUTH: ("Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false",),
    ChangeKind.GRANT_FULL_ACCESS: (
        "Add-MailboxPermission -Identity $mailbox -User $username -AccessRights FullAccess -AutoMapping $false "
        "| Out-Null",
    ),
    ChangeKind.GRANT_SEND_AS: (
        "Add-RecipientPermission $sender -Trustee $username -AccessRights SendAs -Confirm:$false | Out-Null",
    ),
    ChangeKind.GRANT_SEND_ON_BEHALF: ("Set-Mailbox -Identity $sender -GrantSendOnBehalfTo @{Add=$username}",),
}
_EXCHANGE_KINDS = frozenset(ChangeKind) - {ChangeKind.REGISTER_APP, ChangeKind.CONSENT, ChangeKind.MAKE_SECRET}


def powershell_script(plan: SetupPlan) -> str:
    """The whole script. Every value of the plan stands in quotes at its top, and nowhere else."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: SetupPlan) -> Iterator[str]:
    yield "# Sets up Microsoft 365 for Postroom. Read it before you run it: it has never met a real tenant."
    yield "# It needs the modules Microsoft.Graph and ExchangeOnlineManagement (Install-Module)."
    yield "$ErrorActionPreference = 'Stop'"
    yield from _values(plan)
    yield ""
    scopes = "'Application.ReadWrite.All', 'DelegatedPermissionGrant.ReadWrite.All', 'User.Read.All'"
    tenant = " -TenantId $tenant" if plan.tenant else ""
    yield f"Connect-MgGraph{tenant} -Scopes {scopes} -NoWelcome"
    is_connected = False
    for change in plan.changes:
        if change.kind in _EXCHANGE_KINDS and not is_connected:
            is_connected = True
            yield "\nConnect-ExchangeOnline -ShowBanner:$false"
        yield f"\n# {change.kind.value} (least role: {change.role}). Undo: {change.undo}"
        yield from _LINES[change.kind]
    yield "\n# One block to paste into Postroom. It holds the client secret: keep it to yourself."
    yield (
        "$values = @{ tenant = (Get-MgContext).TenantId; client_id = $app.AppId; client_secret = $secret.SecretText; "
        "secret_ends_on = $ends.ToString('yyyy-MM-dd', [Globalization.CultureInfo]::InvariantCulture) }"
    )
    yield "$bytes = [Text.Encoding]::UTF8.GetBytes(($values | ConvertTo-Json -Compress))"
    yield f"'{MARK}' + [Convert]::ToBase64String($bytes)"


def _values(plan: SetupPlan) -> Iterator[str]:
    named = {
        "appName": plan.app_name,
        "tenant": plan.tenant,
        "redirectUrl": plan.redirect_url,
        "username": plan.username,
        "mailbox": plan.mailbox,
        "sender": plan.sender,
    }
    yield from (f"${name} = {quoted(value)}" for name, value in named.items())
    yield f"$permissions = @({', '.join(map(quoted, plan.permissions))})"
    yield "$identity = @('openid', 'profile', 'email')"
