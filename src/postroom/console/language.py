"""Where sentences meet their catalogue: today there is one language, and every sentence already passes here."""


def _(sentence: str, **values: object) -> str:
    """The sentence in the reader's language, with its values in place of `%(name)s`."""
    return sentence % values if values else sentence


def ngettext(singular: str, plural: str, number: int) -> str:
    """The form that fits the number, which stands in it as `%(num)s`."""
    return (singular if number == 1 else plural) % {"num": f"{number:,}"}
