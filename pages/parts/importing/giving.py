"""Which file: an upload, or a path on the machine that the page runs on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.parts.importing.desk import Desk, Given
from pages.parts.plain import plain
from unlearn_core.data import importing
from unlearn_core.data.importing.source import amount, short
from unlearn_core.errors import BadInput

MOST_MEGABYTES = 200  # of an upload, which the page holds in memory while it comes in; .streamlit/config.toml says the same
HERE = ("127.0.0.1", "localhost", "::1")


def given(desk: Desk) -> Given | None:
    """The file, or None after asking for one."""
    if desk.given:
        _shown(desk)
        return desk.given
    st.caption(f"{importing.KINDS}. Uploads of up to {MOST_MEGABYTES} MB; give the path of anything larger.")
    upload, path = f"import.file.{desk.turn}", f"import.path.{desk.turn}"
    st.file_uploader("A file", key=upload, max_upload_size=MOST_MEGABYTES, on_change=_receive, args=(desk, upload))
    if st.get_option("server.address") in HERE:  # who reaches the page from elsewhere must not read this machine's files
        st.text_input(
            "Or a file or folder on this machine",
            desk.path,
            key=path,
            placeholder="/home/me/people.csv",
            on_change=_point,
            args=(desk, path),
        )
    if desk.problem:
        st.error(plain(desk.problem), icon=":material/error:")
    st.caption("It stays on this machine. Nothing in a file is ever executed, and nothing is kept before you say so.")
    return None


def _shown(desk: Desk) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/draft: **{plain(short(desk.given.name))}**{_size(desk.given.path)}", width="stretch")
        st.button("Another file", key="import.another", icon=":material/swap_horiz:", width="content", on_click=desk.drop)


def _size(path: Path) -> str:
    try:
        return "" if path.is_dir() else f" · {amount(path.stat().st_size)}"
    except OSError:
        return ""  # moved away meanwhile, which its reader says


def _receive(desk: Desk, key: str) -> None:
    """Hand an upload over to the file's reader, and let it go here: it would stay in the page's memory."""
    file = st.session_state[key]
    if file is None:
        return
    try:
        path = desk.reading.receive(file.getvalue(), file.name)
    except BadInput as error:
        desk.problem = str(error)
        return
    desk.take(Given(path, file.name, f"upload-{desk.turn}"))
    context = get_script_run_ctx()
    context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)


def _point(desk: Desk, key: str) -> None:
    desk.path, desk.problem = st.session_state[key].strip(), ""
    if not desk.path:
        return
    try:
        place = Path(desk.path).expanduser().absolute()
        changed = place.stat().st_mtime_ns
    except FileNotFoundError:
        desk.problem = f"file: there is no {short(place)} on this machine. Give the path of a file or of a folder of class folders."
    except (OSError, RuntimeError, ValueError):
        desk.problem = "file: this is not a path on this machine. Give the path of a file or of a folder of class folders."
    else:
        token = hashlib.sha256(f"{place}\0{changed}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
        desk.take(Given(place, place.name, token))
