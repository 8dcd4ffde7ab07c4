-- Whom accounts send as, and who wants to hear no more of them.

-- A number or short code belongs to one account at a time: what is sent to it is that account's. A name is nobody's.
-- No countries: every country.
CREATE TABLE messages.senders (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    address text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('number', 'short_code', 'alphanumeric')),
    countries text[],
    is_default boolean NOT NULL DEFAULT false,
    in_pool boolean NOT NULL DEFAULT false,
    UNIQUE (account_id, address),
    CONSTRAINT senders_pool CHECK (NOT in_pool OR kind <> 'alphanumeric')
);
CREATE UNIQUE INDEX senders_owner ON messages.senders (address) WHERE kind <> 'alphanumeric';
CREATE UNIQUE INDEX senders_default ON messages.senders (account_id) WHERE is_default;
CREATE INDEX senders_of_account ON messages.senders (account_id, id);

-- No row: any sender.
CREATE TABLE messages.sender_policies (
    account_id uuid PRIMARY KEY,
    policy text NOT NULL CHECK (policy IN ('any', 'listed'))
);

-- Which sender of the pool a recipient knows.
CREATE TABLE messages.sticky_senders (
    account_id uuid NOT NULL,
    recipient text COLLATE "C" NOT NULL,
    sender text COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, recipient)
) WITH (fillfactor = 90);

-- An empty sender stands for all of the account's.
CREATE TABLE messages.opt_outs (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    recipient text COLLATE "C" NOT NULL,
    sender text COLLATE "C" NOT NULL DEFAULT '',
    source text NOT NULL CHECK (source IN ('keyword', 'api')),
    UNIQUE (account_id, recipient, sender)
);
CREATE INDEX opt_outs_of_account ON messages.opt_outs (account_id, id);
