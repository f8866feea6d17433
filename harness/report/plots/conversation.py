"""Plot E: one conversation as a timeline. Time runs right, on phones down; every message is an arrow between two lines."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from harness.report.examples import Example
from harness.report.plots.style import BLUE, GREY, INK, MUTED, ORANGE, PAPER, TEAL, Sheet, word
from harness.report.wording import shown

_HUES = {"plain": INK, "echo": GREY, "anomaly": ORANGE, "repair": TEAL}
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5)


def conversation(sheet: Sheet, example: Example) -> None:
    """Draw it."""
    _Drawing(sheet, example).draw()


class _Drawing:
    def __init__(self, sheet: Sheet, example: Example) -> None:
        self.sheet, self.example, self.down = sheet, example, sheet.narrow
        self.length = example.length_s
        self.axes = sheet.axes(30, sheet.height - 16, 46, 34) if self.down else sheet.axes(46, sheet.height - 44, 70, 20)
        self.pixels = (sheet.height - 46 if self.down else sheet.width - 90) / self.length
        self.called: list[float] = []
        self.taken: dict[tuple[bool, int], float] = {}

    def at(self, seconds: float, lane: float) -> tuple[float, float]:
        """A point: `lane` 0 is the guest's line, 1 the server's."""
        return (lane, seconds) if self.down else (seconds, 1 - lane)

    def line(self, low: float, high: float, lane: float, **style: Any) -> None:
        (x0, y0), (x1, y1) = self.at(low, lane), self.at(high, lane)
        self.axes.plot((x0, x1), (y0, y1), **style)

    def draw(self) -> None:
        axes: Axes = self.axes
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        if self.down:
            axes.set_xlim(-0.3, 1.2)
            axes.set_ylim(self.length, 0)
        else:
            axes.set_xlim(0, self.length)
            axes.set_ylim(-0.16, 1.2)
        for lane, name in ((0, shown(f"guest {self.example.label}", 18)), (1, "server")):
            self.line(0, self.length, lane, color=MUTED, lw=1)
            place = self.at(0, lane)
            by, ha = ((0, 12), "center") if self.down else ((-8, 0), "right")
            word(axes, place, name, by=by, ha=ha, va="center", fontweight="bold")
        self.sockets()
        for arrow in self.example.arrows:
            self.arrow(arrow.by_guest, arrow.start_s, arrow.end_s, arrow.text, arrow.role, arrow.call)
        self.ticks()

    def sockets(self) -> None:
        """A thick line on the guest's side for every connection, dashes where there was none after one."""
        last: float | None = None
        free = -99.0
        for socket in self.example.sockets:
            self.line(socket.low_s, max(socket.high_s, socket.low_s), -0.05, color=BLUE, lw=4.5, alpha=0.75, solid_capstyle="butt")
            if last is not None and socket.low_s > last:
                self.line(last, socket.low_s, -0.05, color=ORANGE, lw=1.4, ls=(0, (2, 2)))
            last = socket.high_s
            start = socket.low_s * self.pixels
            if start >= free:
                by = (-38, -2) if self.down else (2, 26)
                turn = {"rotation": 90, "ha": "center", "va": "top"} if self.down else {"ha": "left", "va": "bottom"}
                word(self.axes, self.at(socket.low_s, -0.05), f"socket {socket.epoch}", by=by, color=MUTED, fontsize=9.5, **turn)
                free = start + 56

    def arrow(self, by_guest: bool, start: float, end: float | None, text: str, role: str, call: int) -> None:
        hue = _HUES[role]
        source, target = (0, 1) if by_guest else (1, 0)
        if end is None:
            stop, lane = start + 0.012 * self.length, source + (target - source) * 0.55
        else:
            stop, lane = end, float(target)
        tail, head = self.at(start, source), self.at(stop, lane)
        style = "-" if end is None else "-|>,head_width=.2,head_length=.4"
        dash = (0, (3, 2)) if end is None else "-"
        width = 1.6 if role == "anomaly" else 1.1
        self.axes.annotate(
            "",
            head,
            tail,
            arrowprops={
                "arrowstyle": style,
                "color": hue,
                "lw": width,
                "ls": dash,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
        if end is None:
            self.axes.plot(*head, "x", ms=8, mew=2, color=hue)
        self.label(by_guest, start, text, hue, keep=role == "anomaly")
        if call:
            crowd = sum(abs(start - other) * self.pixels < 26 for other in self.called)
            share = (0.6, 0.3, 0.82, 0.45)[crowd % 4] if end is not None else 0.5
            self.called.append(start)
            spot = self.at(start + (stop - start) * share, source + (lane - source) * share)
            self.axes.plot(*spot, "o", ms=13, mfc=PAPER, mec=hue, mew=1.3, clip_on=False, zorder=5)
            word(self.axes, spot, str(call), ha="center", va="center", fontsize=9.5, zorder=6)

    def label(self, by_guest: bool, start: float, text: str, hue: str, *, keep: bool) -> None:
        """The name at the sender's end, in the first of two rows where it does not touch the one before it."""
        size = 13.0 if self.down else 6.6 * len(text) + 5
        place = start * self.pixels
        for row in (0, 1):
            if place - self.taken.get((by_guest, row), -99.0) >= size or (keep and row == 1):
                self.taken[by_guest, row] = place
                break
        else:
            return
        far = 9 + 12 * row
        if self.down:
            far = 12 + 20 * row
            by = (-far - 4, 0) if by_guest else (far - 4, 0)
            turn = {"ha": "right" if by_guest else "left", "va": "center"}
        else:
            by = (0, far) if by_guest else (0, -far)
            turn = {"ha": "center", "va": "bottom" if by_guest else "top"}
        word(self.axes, self.at(start, 0 if by_guest else 1), text, by=by, color=hue, fontsize=9.5, **turn)

    def ticks(self) -> None:
        step = next((s for s in _STEPS if self.length / s <= 10), 10)
        axis, other = (self.axes.yaxis, self.axes.xaxis) if self.down else (self.axes.xaxis, self.axes.yaxis)
        axis.set_major_locator(FixedLocator([round(n * step, 3) for n in range(int(self.length / step) + 1)]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
        axis.set_tick_params(length=0, pad=3 if self.down else 17)
        other.set_major_locator(FixedLocator([]))
