-- Cancelled orders whose time has come in [since, until) are cleared away, their lines with them.

delete from orders using (
    select cancelled.order_id
    from orders as cancelled
    cross join lateral pg_temp.fate(cancelled.order_id, cancelled.ordered_at) as fate
    where
        cancelled.status_code = 'cancelled'
        and cancelled.ordered_at < {since}
        and cancelled.ordered_at >= {since}::timestamptz - interval '130 days'
        and fate.purged_at < {until}
    offset 0
) as purged
where orders.order_id = purged.order_id
