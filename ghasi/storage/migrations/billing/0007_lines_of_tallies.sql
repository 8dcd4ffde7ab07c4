-- Invoices from before tallies named their line: those lines were of a country and a price each, so that what they are
-- made of can be listed too.
ALTER TABLE billing.tallies DISABLE TRIGGER tallies_guarded;
UPDATE billing.tallies AS tally SET line = line.position
FROM billing.invoice_lines AS line
WHERE line.invoice_id = tally.invoice_id AND line.kind = 'usage' AND line.rate_id IS NULL
    AND coalesce(line.country, 'ZZ') = tally.country AND line.unit_micros = tally.unit_micros
    AND tally.line IS NULL AND tally.rate_id = '00000000-0000-0000-0000-000000000000';
ALTER TABLE billing.tallies ENABLE TRIGGER tallies_guarded;
