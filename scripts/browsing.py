"""Just enough of a browser for the tour: open pages, keep cookies, fill in forms by the names of their fields."""

import html.parser
from dataclasses import dataclass, field
from urllib.parse import urljoin

import httpx2


@dataclass
class Form:
    """A form as the page holds it, with the values it would send."""

    action: str
    method: str
    values: dict[str, str] = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)


class PageReader(html.parser.HTMLParser):
    """Reads a page's forms, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.text: list[str] = []
        self._form: Form | None = None
        self._select: str | None = None
        self._textarea: str | None = None
        self._silent = 0
        self._in_button = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag in ("script", "style", "head"):
            self._silent += 1
        if tag == "form":
            self._form = Form(found.get("action", ""), found.get("method", "get").lower())
            self.forms.append(self._form)
        if self._form is None:
            return
        if tag == "input":
            self._read_input(found)
        elif tag == "select":
            self._select = found.get("name")
        elif tag == "option" and self._select is not None:
            if "selected" in found or self._select not in self._form.values:
                self._form.values[self._select] = found.get("value", "")
        elif tag == "textarea":
            self._textarea = found.get("name")
        elif tag == "button":
            self._in_button = True
            self._form.buttons.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "head"):
            self._silent -= 1
        elif tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None
        elif tag == "textarea":
            self._textarea = None
        elif tag == "button":
            self._in_button = False

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        if self._form is not None and self._textarea is not None:
            self._form.values[self._textarea] = self._form.values.get(self._textarea, "") + data
        if self._form is not None and self._in_button:
            self._form.buttons[-1] += data.strip()
        if data.strip():
            self.text.append(" ".join(data.split()))

    def _read_input(self, found: dict[str, str]) -> None:
        assert self._form is not None
        name, kind = found.get("name", ""), found.get("type", "text")
        is_left_out = kind in ("checkbox", "radio") and "checked" not in found
        if kind == "submit":
            self._form.buttons.append(found.get("value", ""))
        elif name and not is_left_out:
            self._form.values[name] = found.get("value", "on" if kind == "checkbox" else "")


class Browser:
    """A person at a browser: one page at a time, redirects followed, cookies kept."""

    def __init__(self) -> None:
        # The servers close a connection that was idle for 5 s; it must not be used again at that very moment.
        limits = httpx2.Limits(keepalive_expiry=2)
        self._client = httpx2.Client(follow_redirects=True, trust_env=False, timeout=60, limits=limits)
        self.url = ""
        self.status = 0
        self.forms: list[Form] = []
        self.text = ""
        self.source = ""

    def close(self) -> None:
        self._client.close()

    def open(self, url: str) -> None:
        self._show(self._client.get(urljoin(self.url, url)))

    def submit(self, action: str, **values: str) -> None:
        """Send the form whose action ends with `action`, with these values over what stands in it."""
        form = self._form(action)
        target = urljoin(self.url, form.action)
        fields = {**form.values, **values}
        origin = {"Origin": self.url.partition("//")[0] + "//" + self.url.partition("//")[2].partition("/")[0]}
        if form.method == "post":
            self._show(self._client.post(target, data=fields, headers=origin))
        else:
            self._show(self._client.get(target, params=fields))

    def _form(self, action: str) -> Form:
        for form in self.forms:
            if form.action.partition("?")[0].endswith(action):
                return form
        known = ", ".join(form.action or "(this page)" for form in self.forms) or "none"
        raise LookupError(f"{self.url} has no form {action!r} (forms: {known}). It says: {self.text[:500]}")

    def _show(self, answer: httpx2.Response) -> None:
        self.url, self.status, self.source = str(answer.url), answer.status_code, answer.text
        reader = PageReader()
        reader.feed(answer.text)
        self.forms, self.text = reader.forms, " ".join(reader.text)
