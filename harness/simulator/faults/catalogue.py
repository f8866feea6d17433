"""All faults by name."""

from __future__ import annotations

from harness.simulator.faults.backlog import Backlog
from harness.simulator.faults.base import Fault
from harness.simulator.faults.binary import Binary
from harness.simulator.faults.close_code import CloseCode
from harness.simulator.faults.corrupt import Corrupt
from harness.simulator.faults.creep import Creep
from harness.simulator.faults.delay import Delay
from harness.simulator.faults.drift import Drift
from harness.simulator.faults.duplicate import Duplicate
from harness.simulator.faults.duplicate_store import DuplicateStore
from harness.simulator.faults.error_creep import ErrorCreep
from harness.simulator.faults.half_open import HalfOpen
from harness.simulator.faults.http_error import HttpError
from harness.simulator.faults.leak import Leak
from harness.simulator.faults.lose_all import LoseAll
from harness.simulator.faults.lose_confirm import LoseConfirm
from harness.simulator.faults.lose_ingest import LoseIngest
from harness.simulator.faults.lose_push import LosePush
from harness.simulator.faults.maintenance import Maintenance
from harness.simulator.faults.malformed import Malformed
from harness.simulator.faults.mass_disconnect import MassDisconnect
from harness.simulator.faults.oversize import Oversize
from harness.simulator.faults.refuse_upgrade import RefuseUpgrade
from harness.simulator.faults.reorder import Reorder
from harness.simulator.faults.reset import Reset
from harness.simulator.faults.revoke import Revoke
from harness.simulator.faults.skew import Skew
from harness.simulator.faults.slow_accept import SlowAccept
from harness.simulator.faults.slow_body import SlowBody
from harness.simulator.faults.stall import Stall
from harness.simulator.faults.standstill import Standstill
from harness.simulator.faults.step import Step
from harness.simulator.faults.tear import Tear
from harness.simulator.faults.throttle import Throttle
from harness.simulator.faults.unknown_type import UnknownType
from harness.simulator.faults.wrong_id import WrongId

CATALOGUE: dict[str, type[Fault]] = {
    kind.name: kind
    for kind in (
        LoseIngest,
        LoseConfirm,
        LosePush,
        LoseAll,
        Duplicate,
        DuplicateStore,
        Reorder,
        Delay,
        Corrupt,
        WrongId,
        Oversize,
        Malformed,
        UnknownType,
        Binary,
        Reset,
        Tear,
        Stall,
        Standstill,
        HalfOpen,
        CloseCode,
        RefuseUpgrade,
        MassDisconnect,
        Maintenance,
        SlowAccept,
        HttpError,
        SlowBody,
        Throttle,
        Drift,
        Creep,
        Step,
        ErrorCreep,
        Leak,
        Backlog,
        Skew,
        Revoke,
    )
}
