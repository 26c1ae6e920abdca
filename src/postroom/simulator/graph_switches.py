"""What can be turned at Microsoft Graph: faults by switch, and the limits of the Outlook service.

Limits: microsoft365.md 3.3. The document words "four at once" per application, whatever the mailbox;
other pages of Microsoft say per application and mailbox, and so does this.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from postroom.simulator.operation_error import OperationError

GraphFault = Literal["429", "503", "504"]


@dataclass
class GraphSwitches:
    """`fault` answers every request until `fault_times` of them were answered so; None is for ever.

    `keeps_x_headers`: whether X- headers of a MIME message are delivered. They were seen to be dropped
    at Outlook.com [B]; what Microsoft 365 does is not known [C]. `access_policies` names the mailboxes
    (object ids) that an application (client id) may use; one without a policy may use them all.
    """

    fault: GraphFault | None = None
    fault_times: int | None = None
    retry_after_seconds: int = 30
    requests_at_once: int = 4
    requests_per_window: int = 10_000
    window_seconds: float = 600.0
    upload_bytes_per_window: int = 150_000_000
    upload_window_seconds: float = 300.0
    keeps_x_headers: bool = False
    slow_seconds: float = 5.0
    access_policies: dict[str, frozenset[str]] = field(default_factory=dict)

    def break_graph(self, fault: GraphFault, *, times: int | None = None, retry_after_seconds: int = 30) -> None:
        """Answer every request, or the next `times` ones, with a fault. OperationError for one there is not."""
        if fault not in get_args(GraphFault):
            raise OperationError(f"Microsoft Graph can answer 429, 503 or 504, not “{fault}”.")
        if times is not None and times < 1:
            raise OperationError("The fault must meet at least one request.")
        if not 0 <= retry_after_seconds <= 86_400:
            raise OperationError(f"Retry-After is 0 to 86,400 seconds, not {retry_after_seconds}.")
        self.fault, self.fault_times, self.retry_after_seconds = fault, times, retry_after_seconds

    def mend_graph(self) -> None:
        """End the fault."""
        self.fault, self.fault_times = None, None

    def restrict_application(self, client_id: str, mailbox_ids: Iterable[str]) -> None:
        """`New-ApplicationAccessPolicy -AccessRight RestrictAccess`, with the members of its group; older than RBAC."""
        self.access_policies[client_id] = frozenset(mailbox_ids)

    def remove_restriction(self, client_id: str) -> None:
        """`Remove-ApplicationAccessPolicy`. OperationError if there is none."""
        if client_id not in self.access_policies:
            raise OperationError(f"There is no application access policy for {client_id}.")
        del self.access_policies[client_id]

    def take_fault(self) -> GraphFault | None:
        """The fault that this request meets, if any; one that was asked for n times ends by itself."""
        fault = self.fault
        if fault and self.fault_times is not None:
            self.fault_times -= 1
            if self.fault_times <= 0:
                self.fault, self.fault_times = None, None
        return fault
