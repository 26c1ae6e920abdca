# Sets up Microsoft 365 for Postroom. Read it before you run it: it has never met a real tenant.
# It needs the modules Microsoft.Graph and ExchangeOnlineManagement (Install-Module).
$ErrorActionPreference = 'Stop'
$appName = 'Postroom'
$tenant = 'contoso.com'
$redirectUrl = 'https://mail.example.com/cb'
$username = 'scanner@contoso.com'
$mailbox = 'shared@contoso.com'
$sender = 'noreply@contoso.com'
$permissions = @('SMTP.Send', 'offline_access', 'User.Read')
$identity = @('openid', 'profile', 'email')

Connect-MgGraph -TenantId $tenant -Scopes 'Application.ReadWrite.All', 'DelegatedPermissionGrant.ReadWrite.All', 'User.Read.All' -NoWelcome

# register app (least role: Cloud Application Administrator). Undo: Remove-MgApplication -ApplicationId $app.Id
$graph = Get-MgServicePrincipal -Filter "appId eq '00000003-0000-0000-c000-000000000000'"
$access = @(foreach ($permission in $permissions) {
    $scope = $graph.Oauth2PermissionScopes | Where-Object { $_.Value -eq $permission }
    if (-not $scope) { throw "Microsoft Graph has no permission $permission." }
    @{ Id = $scope.Id; Type = 'Scope' }
})
$resource = @{ ResourceAppId = $graph.AppId; ResourceAccess = $access }
$app = New-MgApplication -DisplayName $appName -SignInAudience 'AzureADMyOrg' -Web @{ RedirectUris = @($redirectUrl) } -RequiredResourceAccess @($resource)
$principal = New-MgServicePrincipal -AppId $app.AppId

# consent (least role: Cloud Application Administrator). Undo: Remove-MgOauth2PermissionGrant -OAuth2PermissionGrantId $grant.Id
$account = Get-MgUser -UserId $username
$grant = New-MgOauth2PermissionGrant -ClientId $principal.Id -ConsentType 'Principal' -PrincipalId $account.Id -ResourceId $graph.Id -Scope (($permissions + $identity) -join ' ')

# make secret (least role: Cloud Application Administrator). Undo: Remove-MgApplicationPassword -ApplicationId $app.Id -KeyId $secret.KeyId
$ends = (Get-Date).ToUniversalTime().AddDays(730)
$secret = Add-MgApplicationPassword -ApplicationId $app.Id -PasswordCredential @{ DisplayName = 'Postroom'; EndDateTime = $ends }

Connect-ExchangeOnline -ShowBanner:$false

# switch on SMTP AUTH (least role: Exchange Administrator). Undo: Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $null
Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false

# grant full access (least role: Exchange Administrator). Undo: Remove-MailboxPermission -Identity $mailbox -User $username -AccessRights FullAccess
Add-MailboxPermission -Identity $mailbox -User $username -AccessRights FullAccess -AutoMapping $false | Out-Null

# grant send as (least role: Exchange Administrator). Undo: Remove-RecipientPermission $sender -Trustee $username -AccessRights SendAs
Add-RecipientPermission $sender -Trustee $username -AccessRights SendAs -Confirm:$false | Out-Null

# One block to paste into Postroom. It holds the client secret: keep it to yourself.
$values = @{ tenant = (Get-MgContext).TenantId; client_id = $app.AppId; client_secret = $secret.SecretText; secret_ends_on = $ends.ToString('yyyy-MM-dd', [Globalization.CultureInfo]::InvariantCulture) }
$bytes = [Text.Encoding]::UTF8.GetBytes(($values | ConvertTo-Json -Compress))
'POSTROOM-SETUP:' + [Convert]::ToBase64String($bytes)
