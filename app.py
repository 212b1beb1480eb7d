"""Unlearning Studio: one backend handle per server, and the frame around the pages. Everything else lives in pages/."""

from pages.parts import frame
from pages.parts.backend import backend

backend()
frame.run()
