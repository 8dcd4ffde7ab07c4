-- The local identity server's own tables. No other schema refers to them: to the rest of Ghasi it is one more issuer.

CREATE TABLE identity.users (
    local_id text PRIMARY KEY,
    email text NOT NULL UNIQUE, -- in lower case, as Python lowers
    display_name text,
    password_hash text NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    email_verified boolean NOT NULL DEFAULT false,
    disabled boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_login_at timestamptz NOT NULL DEFAULT now(),
    -- tokens of an earlier sign-in are refused; whole seconds, as auth_time in the tokens is
    valid_since timestamptz NOT NULL DEFAULT date_trunc('second', now())
);

-- SHA-256 alone: the tokens are 256 random bits, there is nothing to guess.
CREATE TABLE identity.refresh_tokens (
    hash bytea PRIMARY KEY CHECK (length(hash) = 32),
    local_id text NOT NULL REFERENCES identity.users ON DELETE CASCADE,
    auth_time timestamptz NOT NULL,
    revoked boolean NOT NULL DEFAULT false
);
CREATE INDEX refresh_tokens_user ON identity.refresh_tokens (local_id);

-- What Firebase would send by e-mail. A code is found by its SHA-256; sealed, it can be listed with its link.
CREATE TABLE identity.oob_codes (
    hash bytea PRIMARY KEY CHECK (length(hash) = 32),
    sealed_code bytea NOT NULL,
    local_id text NOT NULL REFERENCES identity.users ON DELETE CASCADE,
    request_type text NOT NULL CHECK (request_type IN ('PASSWORD_RESET', 'VERIFY_EMAIL')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX oob_codes_user ON identity.oob_codes (local_id);

-- The newest signs, all are published.
CREATE TABLE identity.signing_keys (
    kid text PRIMARY KEY,
    certificate text NOT NULL,
    sealed_private_key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
