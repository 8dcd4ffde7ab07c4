-- Opt-outs of one sender, newest first.
CREATE INDEX opt_outs_of_sender ON messages.opt_outs (account_id, sender, id);

-- An account's keys of a time, without a look at the rows of others.
DROP INDEX messages.idempotency_keys_by_age;
CREATE INDEX idempotency_keys_by_age ON messages.idempotency_keys (created_at, account_id);
