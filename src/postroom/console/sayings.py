"""What a page greets with after something was done: the address says which, so that a reload says it again."""

SAYINGS = {
    "welcome": "You are the first administrator. Next: the mail server.",
    "signed-out": "You are signed out.",
    "retry": "It will be tried again now.",
    "cancel": "Cancelled: it will not be sent.",
    "hold": "Held: it stays until somebody releases it.",
    "release": "Released: it leaves by itself.",
    "rules": "Its rules were changed.",
    "password-removed": "The password was removed: whoever still uses it cannot sign in any more.",
    "key-revoked": "The key was revoked.",
    "ignored": "It is not shown any more.",
    "enabled": "The app may hand in mail again.",
    "disabled": "The app may no longer hand in mail.",
    "connected": "The sign-in is complete.",
    "saved": "Saved. Waiting mail leaves by itself from now on.",
    "saved-anyway": "Saved without passed checks; the audit says so. Run the checks when the cause is solved.",
    "not-verified": "Not saved yet: run the checks first, or choose to save anyway.",
    "discarded": "The draft was thrown away; what was set up stays as it is.",
    "changes-first": "Nothing was checked: there are changes that are not live yet. Go on with them, or discard them.",
    "resumed": "The mailbox tries again now.",
    "disconnected": "Disconnected. Mail is taken in and waits.",
}
