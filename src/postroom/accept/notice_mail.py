"""A notice as a message: handed in through the same door as everybody's mail, with the null sender."""

import hashlib

from postroom.accept.submission import Intake, SubmissionOptions
from postroom.message import Reception
from postroom.store.records import IdempotencyKey


async def hand_in_notice(intake: Intake, notice_id: int, recipient: str, content: bytes) -> int:
    """The message's id, once it is on the disk; handed in again, it is the same. Errors: Refusal."""
    key = IdempotencyKey(f"notice:{notice_id}", hashlib.sha256(recipient.encode()).digest())
    options = SubmissionOptions(idempotency=key, is_notice=True)
    app = await intake.store.apps.internal()
    submission = await intake.open(app, "", Reception("notice"), needs_smtputf8=True, options=options)
    try:
        await submission.add_recipient(recipient)
        await submission.write(content)
        return await submission.commit()
    finally:
        await submission.abandon()
