"""Every column that the vault seals, and how all of them change over to another key."""

from typing import NamedTuple

from postroom.store.database import Connection
from postroom.vault import Vault


class SealedColumn(NamedTuple):
    table: str
    column: str
    row_id: str
    """The column whose number is part of the context in which a value was sealed."""

    def context(self, row_id: int) -> str:
        return f"{self.table}.{self.column}.{row_id}"


SEALED_COLUMNS = (
    SealedColumn("instance", "vault_check", "only_row"),
    SealedColumn("grants", "client_secret", "mailbox_id"),
    SealedColumn("grants", "spare_secret", "mailbox_id"),
    SealedColumn("grants", "password", "mailbox_id"),
    SealedColumn("grants", "refresh_token", "mailbox_id"),
    SealedColumn("grants", "private_key", "mailbox_id"),
    SealedColumn("renewals", "access_tokens", "mailbox_id"),
    SealedColumn("mail_server_drafts", "draft", "draft_id"),
    SealedColumn("credentials", "sealed_password", "credential_id"),
)


def reseal(connection: Connection, vault: Vault) -> int:
    """Seal anew, within the transaction that runs, what an older key sealed; how many values. Errors: VaultKeyError."""
    return sum(_reseal_column(connection, vault, column) for column in SEALED_COLUMNS)


def _reseal_column(connection: Connection, vault: Vault, column: SealedColumn) -> int:
    # The names are ours, from the table above.
    read = f"SELECT {column.row_id}, {column.column} FROM {column.table} WHERE {column.column} IS NOT NULL"  # noqa: S608
    write = f"UPDATE {column.table} SET {column.column} = ? WHERE {column.row_id} = ?"  # noqa: S608
    outdated = [row for row in connection.raw.execute(read).fetchall() if not vault.is_up_to_date(row[1])]
    for row_id, sealed in outdated:
        context = column.context(row_id)
        connection.raw.execute(write, (vault.seal(vault.open(sealed, context), context), row_id))
    return len(outdated)
