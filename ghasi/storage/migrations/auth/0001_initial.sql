-- auth-service: accounts, the people in them, what they sign in and call with, and the keys that sign their tokens.

SELECT storage.create_outbox('auth');

CREATE TABLE auth.accounts (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    countries text[],  -- NULL: every country
    daily_cap integer CHECK (daily_cap >= 0),  -- messages a UTC day; NULL: no cap
    sequence integer NOT NULL DEFAULT 1,  -- of the account's latest event
    created_at timestamptz NOT NULL
);

-- limits per minute that differ from the settings
CREATE TABLE auth.account_limits (
    account_id uuid NOT NULL REFERENCES auth.accounts ON DELETE CASCADE,
    limit_group text NOT NULL,
    per_minute integer NOT NULL CHECK (per_minute > 0),
    PRIMARY KEY (account_id, limit_group)
);

-- a person is who the identity provider says, never an e-mail address: addresses change hands
CREATE TABLE auth.users (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES auth.accounts,
    issuer text NOT NULL,
    subject text NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    roles text[] NOT NULL,  -- the token's; what one may do in the account is `role`
    role text NOT NULL CHECK (role IN ('owner', 'member')),
    time_zone text,  -- NULL: the browser's, as for locale
    locale text,
    created_at timestamptz NOT NULL,
    signed_in_at timestamptz NOT NULL,
    removed_at timestamptz  -- kept for what they made; who comes back is a new user
);
CREATE UNIQUE INDEX users_person ON auth.users (issuer, subject) WHERE removed_at IS NULL;
CREATE INDEX users_account ON auth.users (account_id, id);
CREATE INDEX users_removed ON auth.users (removed_at) WHERE removed_at IS NOT NULL;

-- one that was taken back or replaced is deleted; one that was taken up is kept a while, for its link is opened again
CREATE TABLE auth.invitations (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES auth.accounts ON DELETE CASCADE,
    email text NOT NULL,  -- as it was typed
    address text NOT NULL,  -- the same in lower case, by which it is compared
    role text NOT NULL CHECK (role IN ('owner', 'member')),
    hash bytea NOT NULL UNIQUE,  -- SHA-256 of the token
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    taken_at timestamptz
);
CREATE UNIQUE INDEX invitations_address ON auth.invitations (account_id, address) WHERE taken_at IS NULL;
CREATE INDEX invitations_account ON auth.invitations (account_id, id) WHERE taken_at IS NULL;
CREATE INDEX invitations_expiry ON auth.invitations (expires_at);

-- which key signs is decided by the times alone, so that no process needs to be told of a rotation
CREATE TABLE auth.signing_keys (
    kid text PRIMARY KEY,
    modulus text NOT NULL,  -- n and e of RFC 7518, section 6.3.1
    exponent text NOT NULL,
    sealed_private_key bytea NOT NULL,
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL,
    published_until timestamptz  -- NULL: no successor yet
);

-- one sign-in and all refresh tokens that came of it
CREATE TABLE auth.refresh_families (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX refresh_families_user ON auth.refresh_families (user_id);
CREATE INDEX refresh_families_expiry ON auth.refresh_families (expires_at);

CREATE TABLE auth.refresh_tokens (
    hash bytea PRIMARY KEY,  -- SHA-256 of the token
    family_id uuid NOT NULL REFERENCES auth.refresh_families ON DELETE CASCADE,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX refresh_tokens_family ON auth.refresh_tokens (family_id);
CREATE INDEX refresh_tokens_expiry ON auth.refresh_tokens (expires_at);

CREATE TABLE auth.api_keys (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES auth.accounts ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES auth.users,
    name text NOT NULL,
    prefix text NOT NULL,
    hash bytea NOT NULL UNIQUE,  -- SHA-256 of the key
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX api_keys_account ON auth.api_keys (account_id, id) WHERE revoked_at IS NULL;
CREATE INDEX api_keys_user ON auth.api_keys (user_id);

CREATE TABLE auth.idempotency_keys (
    account_id uuid NOT NULL REFERENCES auth.accounts ON DELETE CASCADE,
    operation text NOT NULL,
    key text NOT NULL,
    body_hash bytea NOT NULL,
    resource_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, operation, key)
);
CREATE INDEX idempotency_keys_age ON auth.idempotency_keys (created_at);

-- the one gateway process that counts limits
CREATE TABLE auth.gateway_lease (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    instance text NOT NULL,
    valid_until timestamptz NOT NULL
) WITH (fillfactor = 10);
