"""How a runtime is told of the GL context that is current: GLX or EGL on Linux, WGL on Windows."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.errors import UserError

if TYPE_CHECKING:
    import moderngl

OPENGL = "XR_KHR_opengl_enable"
EGL = "XR_MNDX_egl_enable"

_GLX_FBCONFIG_ID, _GLX_VISUAL_ID, _EGL_CONFIG_ID, _EGL_NONE = 0x8013, 0x800B, 0x3028, 0x3038
_pointer = ctypes.c_void_p


@dataclass(frozen=True, slots=True)
class GraphicsBinding:
    """kind: "GLX", "EGL" or "WGL". extensions: what the runtime must have. structure: makes the structure that a
    session is created with; while the session lives, it must be kept."""

    kind: str
    extensions: tuple[str, ...]
    structure: Callable[[], Any]


def current_binding() -> GraphicsBinding:
    """Of the calling thread's current GL context. Raises UserError when there is none that OpenXR could take."""
    if sys.platform == "win32":
        return _wgl()
    binding = _egl() or _glx()
    if binding is None:
        raise UserError("VR needs an OpenGL context through GLX, EGL or WGL, and there is none here")
    return binding


def drain_errors(ctx: moderngl.Context) -> None:
    """Some runtimes leave GL errors behind, which others, PyOpenGL above all, would trip over."""
    for _ in range(8):
        if ctx.error == "GL_NO_ERROR":
            return


def _library(*names: str) -> ctypes.CDLL | None:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


def _filled(kind: Any, **pointers: int | ctypes.c_void_p | None) -> Any:
    """The structure with these fields, each cast to the pointer type that pyopenxr gives it."""
    types = dict(kind._fields_)
    return kind(
        **{k: ctypes.cast(v if isinstance(v, _pointer) else _pointer(v), types[k]) for k, v in pointers.items()}
    )


def _egl() -> GraphicsBinding | None:
    egl = _library("libEGL.so.1", "libEGL.so")
    if egl is None:
        return None
    context = _function(egl, "eglGetCurrentContext", _pointer)()
    display = _function(egl, "eglGetCurrentDisplay", _pointer)()
    if not context or not display:
        return None
    number, count, config = ctypes.c_int(), ctypes.c_int(), _pointer()
    ints = ctypes.POINTER(ctypes.c_int)
    query = _function(egl, "eglQueryContext", ctypes.c_uint, _pointer, _pointer, ctypes.c_int, ints)
    choose = _function(egl, "eglChooseConfig", ctypes.c_uint, _pointer, ints, _pointer, ctypes.c_int, ints)
    if query(display, context, _EGL_CONFIG_ID, ctypes.byref(number)):
        wanted = (ctypes.c_int * 3)(_EGL_CONFIG_ID, number.value, _EGL_NONE)
        choose(display, wanted, ctypes.byref(config), 1, ctypes.byref(count))
    address = ctypes.cast(egl.eglGetProcAddress, _pointer).value

    def structure() -> Any:
        import xr.platform as platform

        return _filled(
            platform.GraphicsBindingEGLMNDX, get_proc_address=address, display=display, config=config, context=context
        )

    return GraphicsBinding("EGL", (OPENGL, EGL), structure)


def _glx() -> GraphicsBinding | None:
    glx, x11 = _library("libGLX.so.0", "libGL.so.1"), _library("libX11.so.6")
    if glx is None or x11 is None:
        return None
    context = _function(glx, "glXGetCurrentContext", _pointer)()
    display = _function(glx, "glXGetCurrentDisplay", _pointer)()
    drawable = _function(glx, "glXGetCurrentDrawable", ctypes.c_ulong)()
    if not context or not display:
        return None
    ints = ctypes.POINTER(ctypes.c_int)
    number, count, visual = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _function(glx, "glXQueryContext", ctypes.c_int, _pointer, _pointer, ctypes.c_int, ints)(
        display, context, _GLX_FBCONFIG_ID, ctypes.byref(number)
    )
    choose = _function(glx, "glXChooseFBConfig", ctypes.POINTER(_pointer), _pointer, ctypes.c_int, ints, ints)
    screen = _function(x11, "XDefaultScreen", ctypes.c_int, _pointer)(display)
    wanted = (ctypes.c_int * 3)(_GLX_FBCONFIG_ID, number.value, 0)
    configs = choose(display, screen, wanted, ctypes.byref(count))
    config = _pointer(configs[0]) if configs and count.value else _pointer()
    if configs:
        _function(x11, "XFree", ctypes.c_int, _pointer)(configs)  # the list; the configuration itself is the server's
    if config:
        attribute = _function(glx, "glXGetFBConfigAttrib", ctypes.c_int, _pointer, _pointer, ctypes.c_int, ints)
        attribute(display, config, _GLX_VISUAL_ID, ctypes.byref(visual))

    def structure() -> Any:
        import xr.platform as platform

        handles = _filled(
            platform.GraphicsBindingOpenGLXlibKHR, x_display=display, glx_fbconfig=config, glx_context=context
        )
        handles.visualid, handles.glx_drawable = visual.value, drawable
        return handles

    return GraphicsBinding("GLX", (OPENGL,), structure)


def _wgl() -> GraphicsBinding:
    opengl = _library("opengl32")
    if opengl is None:
        raise UserError("VR needs OpenGL, and opengl32.dll does not load")
    context = _function(opengl, "wglGetCurrentContext", _pointer)()
    device = _function(opengl, "wglGetCurrentDC", _pointer)()
    if not context or not device:
        raise UserError("VR needs an OpenGL context through WGL, and there is none here")

    def structure() -> Any:
        import xr.platform as platform

        return platform.GraphicsBindingOpenGLWin32KHR(h_dc=device, h_glrc=context)  # type: ignore[attr-defined]

    return GraphicsBinding("WGL", (OPENGL,), structure)
