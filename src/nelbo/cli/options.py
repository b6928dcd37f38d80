"""The options of `nelbo fit`: those of `nelbo.options` as flags, and those of the shell alone.

Names, defaults, groups and help are made from `nelbo.options.Options`; what the values may be is
checked where they are used.
"""

from __future__ import annotations

__all__ = ["FitOptions", "takes_pairs"]

import dataclasses
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import Group, Parameter

from ..options import FITTING, MODEL, NOISE, Options
from .flags import WHOLE, as_flag, check_seed, renamed

if TYPE_CHECKING:
    from ..estimator import VariationalAutoencoder

GROUPS = {
    name: Parameter(group=Group(name, sort_key=order))
    for order, name in enumerate((MODEL, NOISE, FITTING, "Held-out rows"), 1)
}


class Shell(NamedTuple):
    """How a kind of option is written on the shell.

    Attributes:
        kind: The type of the flag.
        read: From the flag's name and value to the option's.
        parameter: Further settings of the flag.
    """

    kind: Any
    read: Callable[[str, Any], Any] = lambda flag, value: value
    parameter: Parameter = Parameter()


# -- values that the shell writes in its own way


def _widths(flag: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError(
            f"{flag} must be integers separated by commas, such as 512,512, got {text!r}."
        ) from None


def _columns(flag: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _number_or_word(flag: str, text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _pairs(flag: str, text: str | None) -> dict[str, Any] | None:
    """Read name=value, separated by commas; a value is true, false, a number or a word."""
    if text is None:
        return None
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise ValueError(
                f"{flag} must be name=value, separated by commas, such as beta=4,share=0.5, got "
                f"{text!r}."
            )
        name = name.replace("-", "_")
        if name in found:
            raise ValueError(f"{flag} has {name} twice: {text!r}. Pass it once.")
        found[name] = _value(flag, value)
    return found


def _value(flag: str, text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    if text.isdigit():
        return int(text)
    return _number_or_word(flag, text)


def _or_none(flag: str, text: str) -> str | None:
    return {"none": None}.get(text, text)


def _or_auto(flag: str, value: bool | None) -> bool | str:
    if value is None:
        return "auto"
    return value


SHELL = {
    "int | Literal['auto']": Shell(int | Literal["auto"], parameter=WHOLE),
    "int | None": Shell(int | None, parameter=WHOLE),
    "float": Shell(float),
    "float | None": Shell(float | None),
    "bool": Shell(bool),
    "bool | Literal['auto']": Shell(bool | None, _or_auto),
    "Any": Shell(str),
    "str": Shell(str),
    "str | None": Shell(str, _or_none),
    "str | float": Shell(str, _number_or_word),
    "str | NetworkFactory": Shell(str),
    "str | NetworkFactory | None": Shell(str | None),
    "Sequence[int]": Shell(str, _widths),
    "Sequence[int] | None": Shell(str | None, _widths),
    "Sequence[str | int] | None": Shell(str | None, _columns),
    "Mapping[str, Any] | None": Shell(str | None, _pairs),
}
"""How each type of option is written on the shell."""
SHARED = [field for field in dataclasses.fields(Options) if field.metadata["group"] is not None]
"""The options of Python that are flags, too."""


def _shell(field: dataclasses.Field[Any]) -> Shell:
    return SHELL[str(field.type).replace('"', "'")]


def takes_pairs(option: str) -> bool:
    """Return whether an option is written as name=value, separated by commas."""
    return any(field.name == option and _shell(field).read is _pairs for field in SHARED)


def _default(field: dataclasses.Field[Any]) -> Any:
    """Return an option's default as the shell writes it."""
    if isinstance(field.default, tuple):
        return ",".join(map(str, field.default))
    if _shell(field).read is _or_auto:
        return None
    return field.default


def _help(field: dataclasses.Field[Any]) -> str:
    """Return the first paragraph of an option's text, with flags, and values as they are typed."""
    text = " ".join(field.metadata["text"].split("\n\n")[0].split())
    text = re.sub(r"``(\w+)``", lambda found: as_flag(found[1]), text)
    text = re.sub(r'\{"(\w+)": ([^}]*)\}', r"\1=\2", text)
    text = re.sub(r"\((\d+(?:, \d+)+)\)", lambda found: found[1].replace(" ", ""), text)
    text = text.replace('"', "").replace(" None,", " none,")
    commas = " Separate several by commas."
    if _shell(field).read is _widths:
        return text + commas.replace("several", "widths")
    if _shell(field).read is _pairs:
        return text + commas
    return text


def _annotated(group: str, kind: Any, text: str, *settings: Parameter) -> Any:
    """Return the type of a flag, with its group and help."""
    annotated: Any = Annotated
    return annotated[kind, GROUPS[group], *settings, Parameter(help=text)]


def _flag(field: dataclasses.Field[Any]) -> tuple[str, Any, Any]:
    """Return name, annotated type and default of the flag for an option."""
    shell, group = _shell(field), field.metadata["group"]
    kind = _annotated(group, shell.kind, _help(field), shell.parameter)
    return field.name, kind, _default(field)


class _Methods:
    """What a `FitOptions` does."""

    def estimator(self, **process: Any) -> VariationalAutoencoder:
        """Return the unfitted estimator of these options.

        Raises:
            ValueError: An option cannot be read.
        """
        from ..estimator import VariationalAutoencoder

        own: Any = self
        found = {
            field.name: _shell(field).read(as_flag(field.name), getattr(own, field.name))
            for field in SHARED
        }
        found |= {option: getattr(own, flag) for option, flag in renamed().items()}
        return VariationalAutoencoder(**found, **process)

    def columns(self) -> tuple[str, ...] | None:
        """Return the names of what rows are conditioned on."""
        own: Any = self
        return _columns("--condition", own.condition)

    def resolved(self, held_out: float = 0.1) -> FitOptions:
        """Return the options with the share of held-out rows that is used unless told."""
        own: Any = self
        if own.held_out is not None or own.test is not None:
            return own  # type: ignore[no-any-return]
        return dataclasses.replace(own, held_out=held_out)  # type: ignore[no-any-return]

    def check(self) -> None:
        """Refuse what only the command line takes.

        Raises:
            ValueError: A value is out of range.
        """
        own: Any = self
        if own.held_out is not None and own.test is not None:
            raise ValueError(
                f"--held-out {own.held_out:g} and --test {own.test} both say which rows to measure "
                "log p(x) on. Keep one of them."
            )
        if own.held_out is not None and not 0 <= own.held_out < 1:
            raise ValueError(
                f"--held-out must be in [0, 1), got {own.held_out:g}. 0 trains on every row."
            )
        if own.samples < 1:
            raise ValueError(f"--samples must be at least 1, got {own.samples}.")
        check_seed(own.seed)
        if own.columns() == ():
            raise ValueError("--condition names no column. Pass names such as label, or leave it.")


OWN = [
    ("seed", _annotated(FITTING, int, "Seed of all random numbers.", WHOLE), 0),
    (
        "missing_values",
        _annotated(
            NOISE,
            str,
            "What to make of values that are missing: auto leaves them out of the likelihood, and "
            "gives the encoder a mask; refuse makes them an error.",
        ),
        "auto",
    ),
    (
        "held_out",
        _annotated(
            "Held-out rows",
            float | None,
            "Share of the rows that is split off first and never trained on, to measure log p(x) "
            "on. By default 0.1 unless there is a --test; 0 holds out none.",
        ),
        None,
    ),
    (
        "test",
        _annotated(
            "Held-out rows",
            str | None,
            "Other DATA to measure log p(x) on; then every row of DATA is trained on.",
        ),
        None,
    ),
    (
        "samples",
        _annotated("Held-out rows", int, "Importance samples per held-out row.", WHOLE),
        200,
    ),
]
"""The options that the shell alone has: name, type and default."""

if TYPE_CHECKING:

    @dataclasses.dataclass(frozen=True)
    class FitOptions(_Methods):
        """Everything that decides which model comes out; also the keys of a TOML file."""

        seed: int = 0
        held_out: float | None = None
        test: str | None = None
        samples: int = 200
        missing_values: str = "auto"
        condition: str | None = None
        schema: str = "auto"

else:
    FitOptions = Parameter(name="*")(
        dataclasses.make_dataclass(
            "FitOptions",
            [*map(_flag, SHARED), *OWN],
            bases=(_Methods,),
            frozen=True,
            kw_only=True,
            namespace={
                "__module__": __name__,
                "__doc__": "What decides which model comes out; also keys of a TOML file.",
            },
        )
    )
