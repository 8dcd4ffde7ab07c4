-- Invoices that were opened before there were books: open ones are owed, paid ones were paid. Void ones came to nothing.
-- Each is one transaction, whose id is the invoice's.
INSERT INTO billing.ledger_transactions (id, account_id, currency, kind, reference, invoice_id, note, at)
SELECT id, account_id, currency, 'invoice', id::text, id, 'opened before the books were', issued_at
FROM billing.invoices AS invoice
WHERE status IN ('open', 'paid') AND NOT EXISTS (
    SELECT FROM billing.ledger_transactions AS known WHERE known.invoice_id = invoice.id);

INSERT INTO billing.ledger_entries (transaction_id, account_id, book, amount_micros, after_micros)
SELECT invoice.id, invoice.account_id, entry.book, entry.amount_micros,
    sum(entry.amount_micros) OVER (PARTITION BY invoice.account_id, entry.book ORDER BY invoice.id)
FROM billing.ledger_transactions AS opened
JOIN billing.invoices AS invoice ON invoice.id = opened.id
CROSS JOIN LATERAL (VALUES
    (CASE status WHEN 'open' THEN 'receivable' ELSE 'cash' END, total_micros),
    ('revenue', -subtotal_micros), ('tax', -tax_micros)
) AS entry (book, amount_micros)
WHERE entry.amount_micros <> 0
ORDER BY invoice.id, entry.book;

INSERT INTO billing.ledger_balances (account_id, book, currency, amount_micros)
SELECT account.account_id, book, account.currency, coalesce((
    SELECT sum(amount_micros) FROM billing.ledger_entries AS entry
    WHERE entry.account_id = account.account_id AND entry.book = every.book), 0)
FROM (SELECT DISTINCT account_id, currency FROM billing.ledger_transactions WHERE note = 'opened before the books were')
    AS account
CROSS JOIN unnest(ARRAY['balance', 'cash', 'receivable', 'revenue', 'tax', 'uncollectible', 'usage']) AS every (book)
ON CONFLICT (account_id, book) DO UPDATE SET amount_micros = EXCLUDED.amount_micros;
