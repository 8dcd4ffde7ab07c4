-- Room on a page of charges for the status that each moves to: at 85 most updates went to another page, and wrote to
-- three indexes.
ALTER TABLE billing.charges SET (fillfactor = 60);
