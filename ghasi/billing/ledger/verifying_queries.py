"""SQL that recounts the books: each returns what differs, as (account, subject, kept, counted). Knows no rules."""

CHECKS: dict[str, str] = {
    "transaction": """
        SELECT account_id, transaction_id::text, sum(amount_micros)::bigint, 0
        FROM billing.ledger_entries GROUP BY account_id, transaction_id HAVING sum(amount_micros) <> 0
    """,
    "book": """
        SELECT coalesce(balance.account_id, entry.account_id), coalesce(balance.book, entry.book),
            coalesce(amount_micros, 0), coalesce(sum_micros, 0)::bigint
        FROM billing.ledger_balances AS balance FULL JOIN (
            SELECT account_id, book, sum(amount_micros) AS sum_micros FROM billing.ledger_entries
            GROUP BY account_id, book
        ) AS entry ON (entry.account_id, entry.book) = (balance.account_id, balance.book)
        WHERE coalesce(amount_micros, 0) <> coalesce(sum_micros, 0)
    """,
    "entry": """
        SELECT account_id, transaction_id::text, after_micros, counted_micros FROM (
            SELECT account_id, transaction_id, after_micros,
                sum(amount_micros) OVER (PARTITION BY account_id, book ORDER BY position)::bigint AS counted_micros
            FROM billing.ledger_entries
        ) AS entry WHERE after_micros <> counted_micros
    """,
    "due": """
        SELECT account_id, number, coalesce(kept_micros, 0)::bigint,
            CASE WHEN status IN ('open', 'uncollectible') THEN total_micros - paid_micros - credited_micros ELSE 0 END
        FROM billing.invoices AS invoice LEFT JOIN (
            SELECT invoice_id, sum(amount_micros) AS kept_micros
            FROM billing.ledger_transactions AS moved JOIN billing.ledger_entries ON transaction_id = moved.id
            WHERE invoice_id IS NOT NULL AND book IN ('receivable', 'uncollectible') GROUP BY invoice_id
        ) AS moved ON moved.invoice_id = invoice.id
        WHERE coalesce(kept_micros, 0) <> CASE
            WHEN status IN ('open', 'uncollectible') THEN total_micros - paid_micros - credited_micros ELSE 0 END
    """,
    "spent": """
        SELECT coalesce(month.account_id, tally.account_id), to_char(coalesce(month.month, tally.month), 'YYYY-MM'),
            coalesce(spent_micros, 0), coalesce(sum_micros, 0)::bigint
        FROM billing.spending_months AS month FULL JOIN (
            SELECT account_id, month, sum(amount_micros) AS sum_micros FROM billing.tallies GROUP BY account_id, month
        ) AS tally ON (tally.account_id, tally.month) = (month.account_id, month.month)
        WHERE coalesce(spent_micros, 0) <> coalesce(sum_micros, 0)
    """,
    "held": """
        SELECT coalesce(month.account_id, hold.account_id), to_char(coalesce(month.month, hold.month), 'YYYY-MM'),
            coalesce(held_micros, 0), coalesce(sum_micros, 0)::bigint
        FROM billing.spending_months AS month FULL JOIN (
            SELECT account_id, month, sum(amount_micros) AS sum_micros FROM billing.holds GROUP BY account_id, month
        ) AS hold ON (hold.account_id, hold.month) = (month.account_id, month.month)
        WHERE coalesce(held_micros, 0) <> coalesce(sum_micros, 0)
    """,
}
