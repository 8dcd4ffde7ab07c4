-- Other services learn who owns an account: `user.updated` at each change of a person's part in one, counted by
-- `sequence`; those who are there already are told of now.
ALTER TABLE auth.users ADD COLUMN sequence integer NOT NULL DEFAULT 1;
INSERT INTO auth.outbox (id, type, account_id, subject_id, sequence, at, data)
SELECT gen_random_uuid(), 'user.updated', account_id, id, 1, now(),
       json_build_object('id', id, 'role', CASE WHEN removed_at IS NULL THEN role END)
FROM auth.users;
