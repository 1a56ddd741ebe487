"""A mail server that takes mail by STARTTLS and with a password only.

server.py PORT CERTIFICATE KEY USER FOLDER, with the password in SMTP_PASSWORD. Each
mail becomes a file NUMBER.json in the folder: sender, recipients, TLS version, content.
"""

import asyncio
import hmac
import json
import os
import pathlib
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult

warnings.simplefilter("ignore")
port, certificate, key, user, folder = sys.argv[1:]
password = os.environ["SMTP_PASSWORD"]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == user.encode() and hmac.compare_digest(data.password, password.encode())
    return AuthResult(success=good)


class Files:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        Files.count += 1
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl["cipher"][1],
            "content": envelope.content.decode(),
        }
        file = pathlib.Path(folder, f"{Files.count}.json")
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(mail))
        fresh.rename(file)
        return "250 OK"


async def main():
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(
            Files(),
            tls_context=context,
            require_starttls=True,
            authenticator=authenticate,
            auth_required=True,
        ),
        "127.0.0.1",
        int(port),
    )
    await server.serve_forever()


asyncio.run(main())
