-- Orders that something happens to in [since, until): their state at `until`. Nothing happens 45 days after the sale.

update orders set
    status_code = reached.status_code,
    paid_at = reached.paid_at,
    shipped_at = reached.shipped_at,
    delivered_at = reached.delivered_at,
    returned_at = reached.returned_at,
    updated_at = greatest(fate_at, orders.updated_at)
from (
    select
        open_orders.order_id,
        open_orders.status_code as status_before,
        case
            when fate.cancelled_at < {until} then 'cancelled'
            when fate.returned_at < {until} then 'returned'
            when fate.delivered_at < {until} then 'delivered'
            when fate.shipped_at < {until} then 'shipped'
            when fate.paid_at < {until} then 'paid'
            else 'placed'
        end as status_code,
        case when fate.paid_at < {until} then fate.paid_at end as paid_at,
        case when fate.shipped_at < {until} then fate.shipped_at end as shipped_at,
        case when fate.delivered_at < {until} then fate.delivered_at end as delivered_at,
        case when fate.returned_at < {until} then fate.returned_at end as returned_at,
        greatest(
            case when fate.cancelled_at < {until} then fate.cancelled_at end,
            case when fate.paid_at < {until} then fate.paid_at end,
            case when fate.shipped_at < {until} then fate.shipped_at end,
            case when fate.delivered_at < {until} then fate.delivered_at end,
            case when fate.returned_at < {until} then fate.returned_at end
        ) as fate_at
    from orders as open_orders
    cross join lateral pg_temp.fate(open_orders.order_id, open_orders.ordered_at) as fate
    where
        open_orders.ordered_at >= {since}::timestamptz - interval '45 days'
        and open_orders.ordered_at < {since}
        and open_orders.status_code in ('placed', 'paid', 'shipped', 'delivered')
    offset 0
) as reached
where orders.order_id = reached.order_id and reached.status_code <> reached.status_before and fate_at >= {since}
