"""One message by aiosmtplib, as told by a JSON file; what the server refuses is printed, and the exit code is 1."""

import asyncio
import json
import ssl
import sys
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib

wish = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
message = EmailMessage()
message["From"], message["To"], message["Subject"] = wish["sender"], wish["recipient"], wish["subject"]
message.set_content(wish["text"])
attached = Path(wish["attachment"]).read_bytes()
message.add_attachment(attached, maintype="application", subtype="pdf", filename=wish["filename"])
sending = aiosmtplib.send(
    message,
    hostname="localhost",
    port=wish["port"],
    use_tls=wish["implicit"],
    start_tls=not wish["implicit"],
    tls_context=ssl.create_default_context(cafile=wish["certificate"]),
    username=wish["user"],
    password=wish["password"],
)
try:
    print(asyncio.run(sending)[1])
except aiosmtplib.SMTPException as refused:
    sys.exit(f"{type(refused).__name__}: {refused}")
