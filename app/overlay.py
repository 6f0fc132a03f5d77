"""The ImGui overlay: what the session does, in numbers, and everything that can be changed while it runs.

Draws an `OverlayModel` and returns the actions that were asked for; it changes nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from imgui_bundle import imgui, implot
from numpy.typing import NDArray

from app.actions import Action, Do, help_lines
from app.imgui_host import ACCENT, ImGuiHost
from renderer.auto import AUTO
from renderer.stats import WorkerStatus

RED = imgui.ImVec4(1.0, 0.42, 0.38, 1.0)
AMBER = imgui.ImVec4(1.0, 0.78, 0.35, 1.0)
GREEN = imgui.ImVec4(0.50, 0.86, 0.55, 1.0)
BLUE = imgui.ImVec4(*ACCENT)
PANEL_WIDTH = 352.0
PLOT_FLOOR_MS = 20.0
WARPS = (1, 2, 3, 4)

_FIXED = imgui.WindowFlags_.no_saved_settings.value | imgui.WindowFlags_.no_focus_on_appearing.value
_PANEL = (
    _FIXED
    | imgui.WindowFlags_.no_title_bar.value
    | imgui.WindowFlags_.no_move.value
    | imgui.WindowFlags_.no_resize.value
)
_NOTICE = _PANEL | imgui.WindowFlags_.always_auto_resize.value | imgui.WindowFlags_.no_inputs.value


@dataclass(slots=True)
class OverlayModel:
    """Everything that the overlay shows. Times in milliseconds."""

    avatar: str = ""
    avatars: Sequence[str] = ()  # paths to choose from
    loading: str | None = None  # the avatar that is being loaded
    presenter: str = ""
    fps: float = 0.0
    latency: tuple[float, float, float] | None = None
    stages: Sequence[tuple[str, float, float]] = ()  # name, p50, p95
    history: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # pose to frame
    cache_age: float = 0.0
    warp_degrees: float = 0.0
    dropped: Mapping[str, int] = field(default_factory=dict)
    workers: Sequence[WorkerStatus] = ()
    warps_per_cache: int = 2
    pose: str = ""
    poses: Sequence[str] = ()
    pose_status: tuple[bool, str] = (True, "")
    face: str = ""
    faces: Sequence[str] = ()
    face_status: tuple[bool, str] = (True, "")
    recording: str | None = None  # "00:12 name.mp4"
    record_overlay: bool = False
    late: bool = True
    late_why: str = ""  # it is off though nobody switched it off
    late_latency: tuple[float, float, float] | None = None  # from the pose that it was moved to
    vr: bool = False
    vr_status: str = ""
    vr_figures: str = ""
    vr_mirror: str = "left"
    message: tuple[bool, str] | None = None  # (good news, text)


class Overlay:
    """`rects`: [x0, y0, x1, y1] in window coordinates of the widgets drawn last, by name, for tests and tools."""

    def __init__(self, host: ImGuiHost, visible: bool = True) -> None:
        self.host = host
        self.visible = visible
        self.help_open = False
        self.rects: dict[str, tuple[float, float, float, float]] = {}
        self._path = ""

    def draw(self, model: OverlayModel) -> list[Action]:
        """Between the host's new_frame and render."""
        actions: list[Action] = []
        self.rects.clear()
        if self.visible:
            self._panel(model, actions)
        self._notices(model)
        if self.help_open:
            self._help()
        return actions

    def _mark(self, name: str) -> None:
        low, high = imgui.get_item_rect_min(), imgui.get_item_rect_max()
        self.rects[name] = (low.x, low.y, high.x, high.y)

    def _px(self, length: float) -> float:
        return length * self.host.scale

    def _panel(self, model: OverlayModel, actions: list[Action]) -> None:
        width, height = imgui.get_io().display_size
        margin = self._px(10)
        imgui.set_next_window_pos(imgui.ImVec2(margin, margin))
        panel = min(self._px(PANEL_WIDTH), width - 2 * margin)
        imgui.set_next_window_size_constraints(
            imgui.ImVec2(panel, 0), imgui.ImVec2(panel, max(height - 2 * margin, self._px(60)))
        )
        imgui.begin("visavis", None, _PANEL | imgui.WindowFlags_.always_auto_resize.value)
        self._headline(model)
        self._failed(model, actions)
        imgui.separator()
        self._warp_radios(model, actions)
        self._buttons(model, actions)
        self._late(model, actions)
        self._vr(model, actions)
        self._pickers(model, actions)
        imgui.separator()
        self._plot(model)
        self._table(model)
        self._facts(model)
        self._workers(model)
        imgui.text_disabled("F1 help    H hide")
        imgui.end()

    def _headline(self, model: OverlayModel) -> None:
        imgui.push_font(self.host.bold, 24.0)
        imgui.text_unformatted(f"{model.fps:.0f} fps")
        imgui.same_line(0, self._px(18))
        imgui.text_colored(BLUE, f"{model.latency[0]:.1f} ms" if model.latency else "- ms")
        imgui.pop_font()
        imgui.same_line(0, self._px(8))
        imgui.align_text_to_frame_padding()
        imgui.text_disabled("pose to frame")
        name = f"{Path(model.avatar).stem}" + (f"  (loading {Path(model.loading).stem} ...)" if model.loading else "")
        _clipped(f"{name}   {model.presenter}")

    def _failed(self, model: OverlayModel, actions: list[Action]) -> None:
        for worker in model.workers:
            if worker.role != "failed":
                continue
            imgui.push_text_wrap_pos(0.0)
            imgui.text_colored(RED, f"Worker {worker.index} ({worker.device}) failed: {worker.last_error}")
            imgui.pop_text_wrap_pos()
            if imgui.button(f"Restart worker {worker.index}"):
                actions.append(Action(Do.RESTART, worker.index))
            self._mark(f"restart {worker.index}")

    def _warp_radios(self, model: OverlayModel, actions: list[Action]) -> None:
        imgui.align_text_to_frame_padding()
        imgui.text_unformatted("Warp")
        for k in WARPS:
            imgui.same_line()
            if imgui.radio_button(f"{k}x", model.warps_per_cache == k):
                actions.append(Action(Do.WARP, k))
            self._mark(f"warp {k}x")
        imgui.same_line()
        if imgui.radio_button("auto", model.warps_per_cache == AUTO):
            actions.append(Action(Do.WARP, AUTO))
        self._mark("warp auto")
        if model.warps_per_cache not in (*WARPS, AUTO):
            imgui.same_line()
            imgui.text_colored(BLUE, f"{model.warps_per_cache}x")

    def _buttons(self, model: OverlayModel, actions: list[Action]) -> None:
        if model.recording is not None:
            imgui.push_style_color(imgui.Col_.button, imgui.ImVec4(0.70, 0.16, 0.15, 1.0))
        if imgui.button("Stop recording" if model.recording is not None else "Record"):
            actions.append(Action(Do.RECORD))
        if model.recording is not None:
            imgui.pop_style_color()
        self._mark("record")
        imgui.same_line()
        if imgui.button("Screenshot"):
            actions.append(Action(Do.SCREENSHOT))
        self._mark("screenshot")
        imgui.same_line()
        changed, wanted = imgui.checkbox("with overlay", model.record_overlay)
        if changed:
            actions.append(Action(Do.RECORD_OVERLAY, wanted))
        self._mark("record overlay")
        if model.recording is not None:
            imgui.text_colored(RED, "REC")
            imgui.same_line()
            _clipped(model.recording)

    def _late(self, model: OverlayModel, actions: list[Action]) -> None:
        changed, _ = imgui.checkbox("late reprojection", model.late)
        if changed:
            actions.append(Action(Do.LATE))
        self._mark("late")
        if model.late_why:
            imgui.same_line()
            imgui.text_disabled(model.late_why)
        if model.late_latency is not None:
            imgui.same_line()
            imgui.text_colored(BLUE, f"{model.late_latency[0]:.1f} ms")
            imgui.same_line(0, self._px(6))
            imgui.text_disabled("pose to frame")

    def _vr(self, model: OverlayModel, actions: list[Action]) -> None:
        changed, _ = imgui.checkbox("VR", model.vr)
        if changed:
            actions.append(Action(Do.VR))
        self._mark("vr")
        if model.vr_status:
            imgui.same_line()
            _clipped(model.vr_status)
        if model.vr:
            changed, both = imgui.checkbox("both eyes in the window", model.vr_mirror == "both")
            if changed:
                actions.append(Action(Do.MIRROR, "both" if both else "left"))
            self._mark("vr mirror")
        if model.vr_figures:
            imgui.push_text_wrap_pos(0.0)
            imgui.text_unformatted(model.vr_figures)
            imgui.pop_text_wrap_pos()

    def _pickers(self, model: OverlayModel, actions: list[Action]) -> None:
        self._combo("Avatar", model.avatar, model.avatars, Do.AVATAR, actions, shown=lambda p: Path(p).stem or p)
        self._combo("View", model.pose, model.poses, Do.POSE, actions)
        _status(model.pose_status)
        self._combo("Face", model.face, model.faces, Do.FACE, actions)
        _status(model.face_status)

    def _combo(
        self, label: str, current: str, choices: Sequence[str], do: Do, actions: list[Action], shown: Any = str
    ) -> None:
        imgui.align_text_to_frame_padding()
        imgui.text_unformatted(label)
        imgui.same_line(self._px(64))
        imgui.set_next_item_width(-1)
        opened = imgui.begin_combo(f"##{label}", shown(current))
        self._mark(f"pick {label.lower()}")
        if not opened:
            return
        for choice in choices:
            if imgui.selectable(f"{shown(choice)}##{choice}", choice == current)[0] and choice != current:
                actions.append(Action(do, choice))
            self._mark(f"{label.lower()} {shown(choice)}")
        if do is Do.AVATAR:
            imgui.set_next_item_width(self._px(200))
            entered, self._path = imgui.input_text_with_hint(
                "##path", "path of an .avatar file", self._path, imgui.InputTextFlags_.enter_returns_true.value
            )
            imgui.same_line()
            if (imgui.button("Open") or entered) and self._path.strip():
                actions.append(Action(do, self._path.strip().strip('"')))
                imgui.close_current_popup()
        imgui.end_combo()

    def _plot(self, model: OverlayModel) -> None:
        values = model.history
        flags = implot.Flags_.no_legend.value | implot.Flags_.no_mouse_text.value | implot.Flags_.no_inputs.value
        top = max(PLOT_FLOOR_MS, float(np.percentile(values, 98)) * 1.25 if len(values) else 0.0)
        if implot.begin_plot("##latency", imgui.ImVec2(-1, self._px(92)), flags | implot.Flags_.no_title.value):
            axis = implot.AxisFlags_
            implot.setup_axes("", "ms", axis.no_tick_labels.value | axis.no_label.value, axis.no_label.value)
            implot.setup_axes_limits(0, 240, 0, top, implot.Cond_.always.value)
            if len(values) > 1:
                spec = implot.Spec()
                spec.line_color, spec.line_weight = BLUE, self._px(1.3)
                implot.plot_line("pose to frame (ms)", np.ascontiguousarray(values[-240:]), spec=spec)
            implot.end_plot()

    def _table(self, model: OverlayModel) -> None:
        flags = imgui.TableFlags_.row_bg.value | imgui.TableFlags_.sizing_stretch_prop.value
        if not imgui.begin_table("stages", 3, flags):
            return
        for name, weight in (("stage (ms)", 2.0), ("p50", 1.0), ("p95", 1.0)):
            imgui.table_setup_column(name, imgui.TableColumnFlags_.width_stretch.value, weight)
        imgui.table_headers_row()
        for name, p50, p95 in model.stages:
            imgui.table_next_row()
            imgui.table_next_column()
            imgui.text_unformatted(name.replace("_", " "))
            for value in (p50, p95):
                imgui.table_next_column()
                imgui.text_unformatted(f"{value:.2f}")
        imgui.end_table()

    def _facts(self, model: OverlayModel) -> None:
        imgui.text_unformatted(f"Cache age {model.cache_age:.0f} ms    warp distance {model.warp_degrees:.1f} deg")
        total = sum(model.dropped.values())
        reasons = ", ".join(f"{name} {n}" for name, n in sorted(model.dropped.items()) if n)
        imgui.push_text_wrap_pos(0.0)
        imgui.text_unformatted(f"Dropped frames {total}" + (f" ({reasons})" if reasons else ""))
        imgui.pop_text_wrap_pos()

    def _workers(self, model: OverlayModel) -> None:
        for worker in model.workers:
            times = [f"{what} {ms:.1f} ms" for what, ms in (("cache", worker.cache_ms), ("warp", worker.warp_ms)) if ms]
            color = GREEN if worker.alive else RED if worker.role == "failed" else AMBER
            imgui.text_colored(color, f"{worker.index} {worker.role if not worker.alive else ''}".strip())
            imgui.same_line(0, self._px(6))
            _clipped("  ".join([worker.device, *times]))

    def _notices(self, model: OverlayModel) -> None:
        """At the bottom, also while the panel is hidden: what failed, and answers to keys."""
        lines = [] if self.visible else [
            (RED, f"Worker {w.index} ({w.device}) failed: {w.last_error} - W restarts it")
            for w in model.workers
            if w.role == "failed"
        ]  # fmt: skip
        if model.message is not None:
            good, text = model.message
            lines.append((GREEN if good else AMBER, text))
        if not self.visible and not model.pose_status[0]:
            lines.append((AMBER, model.pose_status[1]))
        if not lines:
            return
        width, height = imgui.get_io().display_size
        left = self._px(PANEL_WIDTH + 10) if self.visible else 0.0
        if width - left < self._px(240):  # no room beside the panel
            left = 0.0
        imgui.set_next_window_pos(
            imgui.ImVec2((left + width) / 2, height - self._px(14)), imgui.Cond_.always.value, imgui.ImVec2(0.5, 1.0)
        )
        room = imgui.ImVec2(max(width - left - self._px(24), 1), max(height, 1))
        imgui.set_next_window_size_constraints(imgui.ImVec2(0, 0), room)
        imgui.begin("##notices", None, _NOTICE)
        imgui.push_text_wrap_pos(room.x - self._px(24))
        for color, text in lines:
            imgui.text_colored(color, text)
        imgui.pop_text_wrap_pos()
        imgui.end()

    def _help(self) -> None:
        width, height = imgui.get_io().display_size
        center = imgui.ImVec2(width / 2, height / 2)
        imgui.set_next_window_pos(center, imgui.Cond_.always.value, imgui.ImVec2(0.5, 0.5))
        flags = _FIXED | imgui.WindowFlags_.always_auto_resize.value | imgui.WindowFlags_.no_collapse.value
        _, still_open = imgui.begin("Keys", True, flags)
        if imgui.begin_table("keys", 2, imgui.TableFlags_.sizing_fixed_fit.value):
            for keys, what in help_lines():
                imgui.table_next_row()
                imgui.table_next_column()
                imgui.text_colored(BLUE, keys)
                imgui.table_next_column()
                imgui.text_unformatted(what)
            imgui.end_table()
        position, size = imgui.get_window_pos(), imgui.get_window_size()
        self.rects["help"] = (position.x, position.y, position.x + size.x, position.y + size.y)
        imgui.end()
        self.help_open = bool(still_open)


def _clipped(text: str) -> None:
    """One line; what does not fit is cut and told in full in a tooltip."""
    room = imgui.get_content_region_avail().x
    shown = text
    if imgui.calc_text_size(text).x > room:
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if imgui.calc_text_size(text[:middle] + "...").x <= room else (low, middle - 1)
        shown = text[:low] + "..."
    imgui.text_disabled(shown)
    if shown != text and imgui.is_item_hovered():
        imgui.set_tooltip(text)


def _status(status: tuple[bool, str]) -> None:
    good, text = status
    if not text:
        return
    imgui.push_text_wrap_pos(0.0)
    imgui.text_colored(imgui.get_style().color_(imgui.Col_.text_disabled) if good else AMBER, text)
    imgui.pop_text_wrap_pos()
