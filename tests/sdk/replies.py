"""What a mocked provider answers, said once for all wires: each wire gives it its own shape."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Thought:
    """Reasoning. `seal` is the provider's own state: a signature or an encrypted part that must come back as it was."""

    text: str
    seal: str


@dataclass(frozen=True)
class Call:
    """A call of a tool. `seal` is what Gemini signs calls with; other wires have no such thing."""

    id: str
    name: str
    arguments: dict
    seal: str | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens in buckets that never overlap."""

    fresh: int = 11
    read: int = 0
    written: int = 0
    text: int = 7
    reasoning: int = 0

    @property
    def input(self):
        return self.fresh + self.read + self.written

    @property
    def output(self):
        return self.text + self.reasoning


@dataclass(frozen=True)
class Reply:
    """An answer: texts, thoughts and calls in order, and why it ended.

    `stop` is `end`, `length`, `stop_sequence` or `refusal`; calls make themselves known. A streamed answer can break: `broken` is
    `error` (the provider says so), `ended` (the stream ends without its end mark) or `closed` (the connection does).
    `pause_s` is a silence of so many seconds: before a whole answer, in the middle of a streamed one.
    """

    parts: tuple = ()
    stop: str = "end"
    stop_sequence: str | None = None
    usage: Usage = field(default_factory=Usage)
    broken: str | None = None
    pause_s: float = 0.0

    @property
    def calls(self):
        return [part for part in self.parts if isinstance(part, Call)]

    @property
    def thoughts(self):
        return [part for part in self.parts if isinstance(part, Thought)]

    @property
    def text(self):
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True)
class Refusal:
    """An answer with an error status, in the shape of the wire; `kind` is the wire's own word for it where it has one."""

    status: int
    message: str
    headers: dict = field(default_factory=dict)


def say(*parts, **more):
    """A reply of these parts."""
    return Reply(parts=parts, **more)


def pieces(text, count=4):
    """The text cut into a few pieces, as a stream brings it."""
    size = max(1, -(-len(text) // count))
    return [text[at:at + size] for at in range(0, len(text), size)]


def from_json(value):
    """A reply written as JSON, for clients in other languages: `{"parts": ["text", {"thought", "seal"}, {"call", "id", "arguments"}], …}`."""
    if "status" in value:
        return Refusal(value["status"], value.get("message", "no"), value.get("headers", {}))
    parts = []
    for part in value.get("parts", []):
        if isinstance(part, str):
            parts.append(part)
        elif "thought" in part:
            parts.append(Thought(part["thought"], part["seal"]))
        else:
            parts.append(Call(part["id"], part["call"], part.get("arguments", {}), part.get("seal")))
    more = {name: value[name] for name in ("stop", "stop_sequence", "broken", "pause_s") if name in value}
    return Reply(parts=tuple(parts), usage=Usage(**value.get("usage", {})), **more)
