-- The purchases registered in [since, until) as orders, in the state they have reached at `until`.

insert into orders
select
    order_id,
    customer_id,
    store_id,
    case
        when cancelled_at < {until} then 'cancelled'
        when returned_at < {until} then 'returned'
        when delivered_at < {until} then 'delivered'
        when shipped_at < {until} then 'shipped'
        when paid_at < {until} then 'paid'
        else 'placed'
    end,
    'USD',
    ordered_at,
    case when paid_at < {until} then paid_at end,
    case when shipped_at < {until} then shipped_at end,
    case when delivered_at < {until} then delivered_at end,
    case when returned_at < {until} then returned_at end,
    greatest(
        registered_at,
        case when cancelled_at < {until} then cancelled_at end,
        case when paid_at < {until} then paid_at end,
        case when shipped_at < {until} then shipped_at end,
        case when delivered_at < {until} then delivered_at end,
        case when returned_at < {until} then returned_at end
    )
from pg_temp.purchases
where registered_at >= {since} and registered_at < {until} and (purged_at is null or purged_at >= {until})
order by order_id
returning ordered_at < {since} as is_late
