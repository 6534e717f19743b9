"""The objects of a Ceph pool, by librados itself: its Python binding takes any failure of a listing for the end of it.

So a pool of which a part does not answer, or may not be looked at, would look empty. As `probe.py`, which imports it,
it runs on the distribution's Python, 3.6 or later, with the standard library only.
"""

import contextlib
import ctypes
import errno
import os
from typing import Any, Dict, Iterator, Optional, Tuple, Union

LIBRARY = "librados.so.2"
ALL_NAMESPACES = b"\1"
HANDLE = ctypes.c_void_p
TEXT = ctypes.c_char_p
PLACE = ctypes.POINTER(HANDLE)
FUNCTIONS = {
    "rados_create2": (PLACE, TEXT, TEXT, ctypes.c_uint64),
    "rados_conf_read_file": (HANDLE, TEXT),
    "rados_conf_set": (HANDLE, TEXT, TEXT),
    "rados_connect": (HANDLE,),
    "rados_ioctx_create": (HANDLE, TEXT, PLACE),
    "rados_ioctx_create2": (HANDLE, ctypes.c_int64, PLACE),
    "rados_nobjects_list_open": (HANDLE, PLACE),
    "rados_nobjects_list_next": (HANDLE, *[ctypes.POINTER(TEXT)] * 3),
}
PROCEDURES = {
    "rados_shutdown": (HANDLE,),
    "rados_ioctx_set_namespace": (HANDLE, TEXT),
    "rados_ioctx_destroy": (HANDLE,),
    "rados_nobjects_list_close": (HANDLE,),
}


def holds_others(conf: str, client: str, options: Dict[str, str], pool: Union[str, int], ours: str) -> bool:
    """Tell whether a pool holds another object than ours, in whatever namespace; asked over a handle of its own.

    Raises:
        OSError: the cluster, or a part of the pool, does not answer or may not be asked.
    """
    library = loaded()
    cluster, context, listing = HANDLE(), HANDLE(), HANDLE()
    with contextlib.ExitStack() as stack:
        try:
            # Like the binding, without a name of the cluster: it is that of the configuration file.
            succeed(library.rados_create2(cluster, b"", client.encode(), 0))
            stack.callback(library.rados_shutdown, cluster)
            succeed(library.rados_conf_read_file(cluster, os.fsencode(conf)))
            for option, value in options.items():
                succeed(library.rados_conf_set(cluster, option.encode(), os.fsencode(value)))
            succeed(library.rados_connect(cluster))
            if isinstance(pool, int):
                succeed(library.rados_ioctx_create2(cluster, pool, context))
            else:
                succeed(library.rados_ioctx_create(cluster, pool.encode(), context))
            stack.callback(library.rados_ioctx_destroy, context)
            library.rados_ioctx_set_namespace(context, ALL_NAMESPACES)
            succeed(library.rados_nobjects_list_open(context, listing))
            stack.callback(library.rados_nobjects_list_close, listing)
            return any(found != (b"", ours.encode()) for found in listed(library, listing))
        except TimeoutError:
            stack.pop_all()  # what waits for an answer may hang when it is taken down; the end of the process does it
            raise


def listed(library: Any, listing: HANDLE) -> Iterator[Tuple[Optional[bytes], Optional[bytes]]]:  # noqa: ANN401 RUF100
    """Yield namespace and name of every object."""
    name, locator, namespace = TEXT(), TEXT(), TEXT()
    while True:
        status = library.rados_nobjects_list_next(listing, name, locator, namespace)
        if status == -errno.ENOENT:
            return
        succeed(status)
        yield namespace.value, name.value


def loaded() -> Any:  # noqa: ANN401 RUF100  ctypes finds the functions when they are called
    """Return the library; each function takes a pointer to what it fills in."""
    library = ctypes.CDLL(LIBRARY)
    for functions, result in ((FUNCTIONS, ctypes.c_int), (PROCEDURES, None)):
        for name, arguments in functions.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, result
    return library


def succeed(status: int) -> None:
    """Raise what a negative status means."""
    if status < 0:
        raise OSError(-status, os.strerror(-status))
