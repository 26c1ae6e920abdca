"""Every refusal of Microsoft Graph: status, code and sentence as data.

`confidence` is that of microsoft365.md: A read in a document of Microsoft, B seen on the wire or in
working code, C a guess. Where only one half of an error is known the mark is the weaker one.
"""

from typing import Literal

import msgspec

Confidence = Literal["A", "B", "C"]


class KnownError(msgspec.Struct, frozen=True):
    """One error. `message` has its changing parts in braces; `meaning` is for a person."""

    name: str
    status: int
    code: str
    message: str
    confidence: Confidence
    meaning: str


_NOT_ADMITTED = "InvalidAuthenticationToken"
_FAILED = "Access token validation failure."

KNOWN_ERRORS = (
    # Who calls
    KnownError("token empty", 401, _NOT_ADMITTED, "Access token is empty.", "B", "There is no token in the request."),
    KnownError(
        "token malformed",
        401,
        _NOT_ADMITTED,
        "CompactToken parsing failed with error code: 80049217",
        "B",
        "What was sent is no token.",
    ),
    KnownError(
        "token bad signature",
        401,
        _NOT_ADMITTED,
        f"{_FAILED} Invalid signature.",
        "B",
        "The token was changed, or signed elsewhere.",
    ),
    KnownError(
        "token audience",
        401,
        _NOT_ADMITTED,
        f"{_FAILED} Invalid audience.",
        "B",
        "The token is for another service, or another cloud.",
    ),
    KnownError(
        "token expired",
        401,
        _NOT_ADMITTED,
        "Lifetime validation failed, the token is expired.",
        "B",
        "The token is too old.",
    ),
    KnownError(
        "token unknown user",
        401,
        _NOT_ADMITTED,
        "The identity of the calling user could not be found.",
        "C",
        "The user of the token was deleted.",
    ),
    KnownError(
        "token revoked",
        401,
        _NOT_ADMITTED,
        "Continuous access evaluation resulted in challenge with result: InteractionRequired and "
        "code: TokenIssuedBeforeRevocationTimestamp",
        "B",
        "An administrator ended the user's sign-ins.",
    ),
    KnownError(
        "me without user",
        400,
        "BadRequest",
        "/me request is only valid with delegated authentication flow.",
        "B",
        "An application itself has no /me; it names a mailbox under /users.",
    ),
    # The directory
    KnownError(
        "directory denied",
        403,
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
        "B",
        "A permission, or a role of the signed-in person, is missing.",
    ),
    KnownError(
        "object unknown",
        404,
        "Request_ResourceNotFound",
        "Resource '{name}' does not exist or one of its queried reference-property objects are not present.",
        "B",
        "There is no such user or application.",
    ),
    KnownError(
        "property unknown",
        400,
        "BadRequest",
        "Parsing OData Select and Expand failed: Could not find a property named '{name}' "
        "on type 'microsoft.graph.{type}'.",
        "B",
        "$select names a property that does not exist.",
    ),
    KnownError(
        "query unsupported",
        400,
        "Request_UnsupportedQuery",
        "The query needs the header ConsistencyLevel: eventual and the parameter $count=true.",
        "C",
        "$count, $filter and casts are advanced queries.",
    ),
    KnownError(
        "filter unsupported",
        400,
        "BadRequest",
        "Invalid filter clause",
        "C",
        "The simulator understands only appId eq '…'.",
    ),
    KnownError(
        "segment unknown",
        400,
        "BadRequest",
        "Resource not found for the segment '{name}'.",
        "B",
        "There is no such address in Graph, or the simulator does not have it.",
    ),
    KnownError(
        "method refused",
        405,
        "ErrorInvalidRequest",
        "The OData request is not supported.",
        "B",
        "The address is right, the method is not.",
    ),
    # The mailbox
    KnownError(
        "mail denied",
        403,
        "ErrorAccessDenied",
        "Access is denied. Check credentials and try again.",
        "B",
        "A mail permission is missing, or Full Access to the other mailbox.",
    ),
    KnownError(
        "mailbox fenced",
        403,
        "ErrorAccessDenied",
        "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.",
        "B",
        "An application access policy or RBAC scope leaves this mailbox out.",
    ),
    KnownError(
        "send as denied",
        403,
        "ErrorSendAsDenied",
        "The user account which was used to submit this request does not have the right to send mail on behalf "
        "of the specified sending account. Cannot submit message.",
        "A",
        "From names somebody for whom neither Send As nor Send on Behalf was granted.",
    ),
    KnownError(
        "mailbox unknown", 404, "ErrorInvalidUser", "The requested user '{name}' is invalid.", "B", "No such user."
    ),
    KnownError(
        "mailbox not enabled",
        404,
        "MailboxNotEnabledForRESTAPI",
        "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
        "B",
        "The user has no mailbox in Exchange Online; most often the licence is missing.",
    ),
    # What was sent
    KnownError(
        "json unreadable",
        400,
        "BadRequest",
        "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid "
        "JSON format.",
        "B",
        "The body is no JSON.",
    ),
    KnownError(
        "content type",
        400,
        "BadRequest",
        "Entity only allows writes with a JSON Content-Type header.",
        "B",
        "The body is neither application/json nor text/plain.",
    ),
    KnownError(
        "json property",
        400,
        "RequestBodyRead",
        "{detail}",
        "C",
        "The JSON does not have the shape of a message.",
    ),
    KnownError(
        "message missing",
        400,
        "ErrorMissingArgument",
        "The required parameter 'Message' is missing.",
        "C",
        "sendMail was called without a message.",
    ),
    KnownError(
        "header name",
        400,
        "InvalidInternetMessageHeader",
        "The internet message header name '{name}' should start with 'x-' or 'X-'.",
        "B",
        "Only x- headers can be set in JSON.",
    ),
    KnownError(
        "header count",
        400,
        "InvalidInternetMessageHeaderCollection",
        "Maximum number of headers in one message should be less than or equal to 5.",
        "B",
        "JSON takes five headers at most.",
    ),
    KnownError(
        "mime base64",
        400,
        "ErrorMimeContentInvalidBase64String",
        "Invalid base64 string for MIME content.",
        "A",
        "The body of type text/plain is not base64.",
    ),
    KnownError(
        "mime invalid",
        400,
        "ErrorMimeContentInvalid",
        "The MIME content is invalid.",
        "C",
        "The base64 holds no message with a header.",
    ),
    KnownError(
        "no recipients",
        400,
        "ErrorInvalidRecipients",
        "At least one recipient isn't valid., A message can't be sent because it contains no recipients.",
        "B",
        "There is no address in To, Cc or Bcc; Graph has no envelope.",
    ),
    KnownError(
        "recipient invalid",
        400,
        "ErrorInvalidRecipients",
        "At least one recipient isn't valid., Recipient \"{name}\" isn't resolved. All recipients must be resolved "
        "before a message can be submitted.",
        "B",
        "What stands in To, Cc or Bcc is no address.",
    ),
    KnownError(
        "too many recipients",
        400,
        "ErrorExceededMaxRecipientLimit",
        "The message has too many recipients.",
        "C",
        "More recipients in one message than the mailbox allows.",
    ),
    KnownError(
        "request too large",
        413,
        "RequestEntityTooLarge",
        "The maximum request length supported is 4MB.",
        "C",
        "The request is over 4 MB: a message of about 3 MB in base64. The code is a guess.",
    ),
    KnownError(
        "message too large",
        413,
        "ErrorMessageSizeExceeded",
        "The message exceeds the maximum supported size.",
        "C",
        "The message is larger than the mailbox may send.",
    ),
    # Limits and troubles
    KnownError(
        "concurrency",
        429,
        "ApplicationThrottled",
        "Application is over its MailboxConcurrency limit.",
        "B",
        "Four requests of this application are under way for this mailbox.",
    ),
    KnownError(
        "too many requests",
        429,
        "ApplicationThrottled",
        "Application is over its RequestCount limit.",
        "C",
        "10,000 requests in ten minutes for one application and mailbox.",
    ),
    KnownError(
        "upload limit",
        429,
        "ApplicationThrottled",
        "Application is over its UploadVolume limit.",
        "C",
        "150 MB in five minutes for one application and mailbox.",
    ),
    KnownError(
        "throttled", 429, "TooManyRequests", "Too Many Requests", "B", "Graph wants to be left alone for a while."
    ),
    KnownError("unavailable", 503, "ServiceUnavailable", "Service Unavailable", "C", "Graph is away."),
    KnownError(
        "gateway timeout",
        504,
        "UnknownError",
        "",
        "C",
        "Nobody knows whether it was done: the mail may have been sent.",
    ),
    KnownError(
        "daily limit",
        429,
        "ErrorExceededMessageLimit",
        "Cannot send mail. Daily Message/Recipient limit exceeded.",
        "C",
        "10,000 recipients in 24 hours. Seen with Outlook.com; what Microsoft 365 says is not known.",
    ),
    KnownError(
        "mailbox full",
        403,
        "ErrorQuotaExceeded",
        "The mailbox has exceeded its quota.",
        "C",
        "Sent Items has filled the mailbox.",
    ),
    KnownError(
        "external limit",
        429,
        "ErrorExceededMessageLimit",
        "Cannot send mail. The organisation has reached its limit for external recipients.",
        "C",
        "The organisation has written to as many people outside as it may in 24 hours.",
    ),
    KnownError(
        "mailbox blocked",
        403,
        "ErrorMessageSubmissionBlocked",
        "Cannot send mail. Message submission is blocked.",
        "C",
        "The mailbox is blocked because spam was suspected.",
    ),
    # Drafts and upload sessions
    KnownError(
        "item unknown",
        404,
        "ErrorItemNotFound",
        "The specified object was not found in the store.",
        "B",
        "The draft was sent, deleted, or is in another mailbox.",
    ),
    KnownError("id malformed", 400, "ErrorInvalidIdMalformed", "Id is malformed.", "B", "What was given is no id."),
    KnownError(
        "attachment too large",
        413,
        "ErrorAttachmentSizeLimitExceeded",
        "The attachment exceeds the maximum supported size.",
        "C",
        "From 3 MB on a file needs an upload session; it ends at 150 MB.",
    ),
    KnownError(
        "attachment too small",
        400,
        "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize",
        "Attachment size must be greater than the minimum size.",
        "C",
        "Below 3 MB a file is posted; upload sessions are for larger ones.",
    ),
    KnownError(
        "upload audience",
        401,
        "InvalidAudienceForResource",
        "The audience claim value is invalid for current resource. Audience claim is '{audience}', request url is "
        "'{url}'.",
        "B",
        "An upload URL is signed in already: send no Authorization header.",
    ),
    KnownError(
        "upload token",
        401,
        "InvalidAuthenticationToken",
        "The authtoken of the upload URL is missing, wrong or expired.",
        "C",
        "The upload URL was changed, or its time is over.",
    ),
    KnownError(
        "upload range",
        400,
        "ErrorInvalidArgument",
        "The Content-Range header is missing or does not fit the request: expected {expected}.",
        "C",
        "Ranges come in order, without gaps, and are as long as they say.",
    ),
)
