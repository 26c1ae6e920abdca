"""What a person likes: the colours. Kept in the browser, where it belongs."""

from starlette.responses import Response

from postroom.console.visit import THEME_COOKIE, THEMES, Visit, safe_path

_YEAR_SECONDS = 365 * 86_400


async def choose_theme(visit: Visit) -> Response:
    theme = visit.form.text("theme")
    response = visit.go(safe_path(visit.form.text("back")))
    if theme in THEMES:
        response.set_cookie(
            THEME_COOKIE, theme, max_age=_YEAR_SECONDS, httponly=True, samesite="lax", secure=visit.rooms.is_secure
        )
    return response
