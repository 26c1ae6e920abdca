"""Step App in Microsoft Entra: what to click there, and what to bring back."""

from datetime import timedelta

from msgspec.structs import replace
from starlette.responses import Response

from postroom.checks.setup_plan import plan_setup
from postroom.checks.setup_script import powershell_script
from postroom.console.drafts import SECRET_DAYS, default_secret_end, permissions_of, read_app
from postroom.console.forms import Troubles
from postroom.console.pages.step import keep_and_go, load_draft, load_draft_to_change, step_page
from postroom.console.times import moment
from postroom.console.visit import Visit
from postroom.store.records import Authentication, MailServerDraft


async def show(visit: Visit) -> Response:
    draft = await load_draft(visit)
    if draft.authentication is not Authentication.OAUTH:
        return visit.go("/admin/mail-server/password")
    return await _page(visit, draft, {})


async def keep(visit: Visit) -> Response:
    before = await load_draft_to_change(visit)
    draft, troubles = read_app(before, visit.form)
    if troubles:
        if "client_secret" in troubles:
            draft = replace(draft, client_secret=before.client_secret)
        # Kept all the same: a secret that Entra shows only once must not be lost to a typing error beside it.
        await visit.rooms.store.mail_servers.keep_draft(draft)
        return await _page(visit, draft, troubles)
    return await keep_and_go(visit, draft, "app")


async def _page(visit: Visit, draft: MailServerDraft, troubles: Troubles) -> Response:
    today = moment(visit.now_us).date()
    app_name, permissions = visit.rooms.settings.instance_name, permissions_of(draft)
    plan = plan_setup(draft, app_name=app_name, redirect_url=visit.rooms.redirect_url, permissions=permissions)
    return await step_page(
        visit,
        "app",
        draft,
        troubles,
        permissions=permissions,
        plan=plan,
        script=powershell_script(plan),
        has_secret=bool(draft.client_secret),
        secret_end=draft.secret_ends_on or default_secret_end(visit.now_us),
        secret_ends={days: today + timedelta(days=days) for days in SECRET_DAYS},
        app_name=app_name,
        is_pasted=not visit.rooms.redirect_url.startswith(f"{visit.rooms.public_url}/"),
    )
