"""Templates to pages: one Jinja environment, with escaping, our filters and the catalogue of sentences."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from postroom.clock import Clock
from postroom.console import times, words
from postroom.console.sayings import SAYINGS
from postroom.ids import public_id
from postroom.network import Network


def make_environment(clock: Clock, network: Network) -> Environment:
    """The templates of this package; a name that a page forgot to hand in is an error, not a gap."""
    environment = Environment(
        loader=PackageLoader("postroom.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_null_translations(newstyle=True)  # type: ignore[attr-defined]
    environment.filters |= {
        "public_id": public_id,
        "moment": lambda at_us: times.moment(at_us).isoformat(timespec="milliseconds"),
        "absolute": times.absolute,
        "relative": lambda at_us: times.relative(at_us, clock.now_us()),
        "clock_time": times.clock_time,
        "portal": network.browser_url,
        "size": times.size,
        "span": times.span,
    }
    environment.globals |= {"words": words, "asset": Assets.find().url, "times": times, "sayings": SAYINGS}
    return environment


@dataclass(frozen=True)
class Assets:
    """Our own scripts and styles, each address changing with its content."""

    versions: dict[str, str]

    @classmethod
    def find(cls) -> "Assets":
        folder = files("postroom.console").joinpath("static")
        versions = {}
        for part in ("", "vendor"):
            for file in (folder.joinpath(part) if part else folder).iterdir():
                if file.is_file():
                    name = f"{part}/{file.name}" if part else file.name
                    versions[name] = hashlib.sha256(file.read_bytes()).hexdigest()[:10]
        return cls(versions)

    def url(self, name: str) -> str:
        return f"/static/{name}?v={self.versions[name]}"
