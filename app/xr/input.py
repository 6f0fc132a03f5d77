"""Controllers through OpenXR's actions: where hands point and what they press. They come and go; none at all is fine.

What is bound to which button of which controller is a suggestion: runtimes let people change it.
"""

from __future__ import annotations

import contextlib
from typing import Any

from app.xr.runtime import pose_of, translated
from models.geometry import Pose
from tracking.room_hands import Hand

HANDS = ("left", "right")
NO_HANDS = (Hand(), Hand())
TICK_NS, TICK_AMPLITUDE = 30_000_000, 0.5
# interaction profile -> action -> the path under /user/hand/<hand>/input; two where the hands differ
PROFILES: dict[str, dict[str, str | tuple[str, str]]] = {
    "khr/simple_controller": {"select": "select/click", "menu": "menu/click"},
    "oculus/touch_controller": {
        "select": "trigger/value", "squeeze": "squeeze/value", "menu": ("y/click", "b/click"), "stick": "thumbstick",
    },
    "valve/index_controller": {
        # not squeeze/value: it answers to the hand that merely lies round the controller
        "select": "trigger/value", "squeeze": "squeeze/force", "menu": "b/click", "stick": "thumbstick",
    },
    "htc/vive_controller": {
        "select": "trigger/click", "squeeze": "squeeze/click", "menu": "menu/click", "stick": "trackpad",
    },
    "microsoft/motion_controller": {
        "select": "trigger/value", "squeeze": "squeeze/click", "menu": "menu/click", "stick": "thumbstick",
    },
}  # fmt: skip
_POSES = {"aim": "aim/pose", "grip": "grip/pose"}
_NAMES = {
    "aim": "Point", "grip": "Hand", "select": "Press, or hold the head", "squeeze": "Hold the head",
    "menu": "Show or hide the panel", "stick": "Push and turn what is held", "tick": "Felt when the head is taken",
}  # fmt: skip


class Controllers:
    """Of one session, for as long as it lives: what is made here goes with its session and its instance."""

    def __init__(self, instance: Any, session: Any, space: Any) -> None:
        """space: poses are given in it. Raises xr.XrException."""
        import xr

        self._session, self._space = session, space
        self._set = xr.create_action_set(instance, xr.ActionSetCreateInfo("room", "In the room"))
        self._users = [xr.string_to_path(instance, f"/user/hand/{hand}") for hand in HANDS]
        types = {
            "aim": xr.ActionType.POSE_INPUT,
            "grip": xr.ActionType.POSE_INPUT,
            "stick": xr.ActionType.VECTOR2F_INPUT,
            "tick": xr.ActionType.VIBRATION_OUTPUT,
        }
        self._actions = {
            name: xr.create_action(
                self._set,
                xr.ActionCreateInfo(
                    action_name=name,
                    action_type=types.get(name, xr.ActionType.BOOLEAN_INPUT),
                    subaction_paths=self._users,
                    localized_action_name=told,
                ),
            )
            for name, told in _NAMES.items()
        }
        for profile, inputs in PROFILES.items():
            bindings = [
                xr.ActionSuggestedBinding(self._actions[name], xr.string_to_path(instance, path))
                for name, path in _paths(inputs)
            ]
            with contextlib.suppress(xr.PathUnsupportedError):  # a runtime need not know every controller
                xr.suggest_interaction_profile_bindings(
                    instance,
                    xr.InteractionProfileSuggestedBinding(
                        xr.string_to_path(instance, f"/interaction_profiles/{profile}"), suggested_bindings=bindings
                    ),
                )
        xr.attach_session_action_sets(session, xr.SessionActionSetsAttachInfo(action_sets=[self._set]))
        self._spaces = {
            name: [
                xr.create_action_space(session, xr.ActionSpaceCreateInfo(self._actions[name], u)) for u in self._users
            ]
            for name in _POSES
        }

    def tick(self, index: int) -> None:
        """Let the left (0) or right (1) controller be felt for a moment, if it can. Raises HeadsetLost."""
        import xr

        info = xr.HapticActionInfo(self._actions["tick"], self._users[index])
        vibration = xr.HapticVibration(xr.Duration(TICK_NS), xr.FREQUENCY_UNSPECIFIED, TICK_AMPLITUDE)
        with translated(), contextlib.suppress(xr.SessionNotFocused):
            xr.apply_haptic_feedback(self._session, info, vibration)  # type: ignore[arg-type]  # it casts

    def hands(self, time: int) -> tuple[Hand, Hand]:
        """Left and right, at OpenXR's `time`; while another program has the controllers both are empty.

        Raises HeadsetLost."""
        import xr

        with translated():
            try:
                active = [xr.ActiveActionSet(self._set, xr.Path(0))]
                xr.sync_actions(self._session, xr.ActionsSyncInfo(active_action_sets=active))
            except xr.SessionNotFocused:  # no error: the session has lost it since its last event
                return NO_HANDS
            return self._hand(0, time), self._hand(1, time)

    def _hand(self, index: int, time: int) -> Hand:
        return Hand(
            self._pose("aim", index, time),
            self._pose("grip", index, time),
            self._pressed("select", index),
            self._pressed("squeeze", index),
            self._pressed("menu", index),
            self._stick(index),
        )

    def _asked(self, name: str, index: int) -> Any:
        import xr

        return xr.ActionStateGetInfo(self._actions[name], self._users[index])

    def _pressed(self, name: str, index: int) -> bool:
        import xr

        state = xr.get_action_state_boolean(self._session, self._asked(name, index))
        return bool(state.is_active and state.current_state)

    def _stick(self, index: int) -> tuple[float, float]:
        import xr

        state = xr.get_action_state_vector2f(self._session, self._asked("stick", index))
        return (float(state.current_state.x), float(state.current_state.y)) if state.is_active else (0.0, 0.0)

    def _pose(self, name: str, index: int, time: int) -> Pose | None:
        """None while the hand has no controller, or nobody knows where it is."""
        import xr

        if not xr.get_action_state_pose(self._session, self._asked(name, index)).is_active:
            return None
        found = xr.locate_space(self._spaces[name][index], self._space, xr.Time(time))
        known = xr.SpaceLocationFlags.ORIENTATION_VALID_BIT | xr.SpaceLocationFlags.POSITION_VALID_BIT
        if xr.SpaceLocationFlags(found.location_flags) & known != known:
            return None
        return pose_of(found.pose)


def _paths(inputs: dict[str, str | tuple[str, str]]) -> list[tuple[str, str]]:
    """(action, full path) for both hands."""
    pairs = []
    for name, path in {**_POSES, **inputs}.items():
        for i, hand in enumerate(HANDS):
            pairs.append((name, f"/user/hand/{hand}/input/{path if isinstance(path, str) else path[i]}"))
    pairs += [("tick", f"/user/hand/{hand}/output/haptic") for hand in HANDS]
    return pairs
