-- Billing's word on which accounts have used up their balance or their limit. It holds until `until`; an account that is
-- exhausted has not even what is held for its scheduled messages.
CREATE TABLE messages.spending (
    account_id uuid PRIMARY KEY,
    status text COLLATE "C" NOT NULL,
    exhausted boolean NOT NULL,
    until timestamptz,
    sequence integer NOT NULL
) WITH (fillfactor = 50);
