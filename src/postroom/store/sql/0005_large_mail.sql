-- Whether Graph may be handed mail in pieces, which needs the permission Mail.ReadWrite: a person switches it on.
ALTER TABLE mail_servers ADD COLUMN takes_large_mail INTEGER NOT NULL DEFAULT 0 CHECK (takes_large_mail IN (0, 1));

-- What only the transport can find out: Graph cannot send this message as it is.
ALTER TABLE deliveries ADD COLUMN is_unfit_for_graph INTEGER NOT NULL DEFAULT 0 CHECK (is_unfit_for_graph IN (0, 1));
