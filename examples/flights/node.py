"""The node of the demo: `spawn run` as a process of its own, to be killed and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import asynccontextmanager
from collections.abc import AsyncIterator
from pathlib import Path

from examples.flights.connection import request_bytes
from examples.flights.delivery import Address, Conversation, deliver
from spawn.dev.parts import Command
from spawn.dev.supervisor_link import SupervisorLink
