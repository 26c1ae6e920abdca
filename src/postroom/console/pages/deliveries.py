"""The list of messages: searched by words, newest first, page by page; its address is its filter."""

from urllib.parse import urlencode

from starlette.responses import Response

from postroom.console.visit import Visit

PAGE_SIZE = 50


async def show(visit: Visit) -> Response:
    words, cursor = " ".join(visit.asked("q").split()), visit.asked("after") or None
    messages = visit.rooms.store.messages
    try:
        rows, following = await messages.search(words, cursor=cursor, limit=PAGE_SIZE)
        trouble = ""
    except ValueError as error:
        rows, following, trouble = [], None, str(error)
    return await visit.page(
        "deliveries.html",
        status=422 if trouble else 200,
        q=words,
        trouble=trouble,
        rows=rows,
        counts=await messages.counts(),
        next_url=_url(words, following) if following else "",
        first_url=_url(words) if cursor else "",
        submission=next(iter(visit.rooms.listeners()), None),
    )


def _url(words: str, cursor: str | None = None) -> str:
    parameters = {name: value for name, value in (("q", words), ("after", cursor)) if value}
    return "/deliveries" + (f"?{urlencode(parameters)}" if parameters else "")
