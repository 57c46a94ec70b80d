"""Text that is safe to put into a page, told apart from text that is not."""

from __future__ import annotations

from html import escape as _escape


class Html(str):
    """Markup: inserted as it stands. Every plain `str` is escaped instead."""

    __slots__ = ()


def html(value: object) -> Html:
    """Markup as it is, anything else escaped.

    >>> html("<b>")
    '&lt;b&gt;'
    >>> html(Html("<b>"))
    '<b>'
    """
    return value if isinstance(value, Html) else Html(_escape(str(value), quote=True))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """One element; `class_` becomes `class`, children are escaped unless they are `Html`.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    given = "".join(f' {k.rstrip("_")}="{html(v)}"' for k, v in attributes.items())
    return Html(f"<{name}{given}>{''.join(html(child) for child in children)}</{name}>")


def join(*parts: object) -> Html:
    """Parts after one another, a line each."""
    return Html("\n".join(html(part) for part in parts if part))
