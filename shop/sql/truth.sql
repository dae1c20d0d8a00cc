-- What is true of the shop at `until`, whether or not its tables say so yet: the days traded, and every version that
-- customers and products have had. Temporary; filled anew for every step, from seed, scale and first day alone.

create temp table traded_days on commit drop as
select
    day,
    day - date '2000-01-01' as day_number,
    order_count,
    1 + coalesce(sum(order_count) over (order by day rows between unbounded preceding and 1 preceding), 0)::bigint
        as first_order_id,
    floor({customer_rate} * (day - {started_on}::date))::bigint as newcomer_count,
    floor({product_rate} * (day - {started_on}::date))::bigint as novelty_count
from (
    select
        day,
        floor(
            {order_rate}
            * (array[1.05, 0.85, 0.83, 0.87, 0.93, 1.15, 1.32])[1 + extract(dow from day)::int]
            * (array[0.88, 0.90, 0.95, 0.97, 1.00, 0.98, 0.96, 0.97, 0.98, 1.00, 1.15, 1.45])[extract(month from day)::int]
            * (0.9 + 0.2 * pg_temp.unit('day trade', day - date '2000-01-01'))
            + pg_temp.unit('day rounding', day - date '2000-01-01')
        )::int as order_count
    from (
        select generate_series({started_on}::timestamp, {until}::timestamp - interval '1 day', interval '1 day')::date as day
    ) as days
    offset 0
) as counted;

-- A customer shops at a home store and lives in its city. One in eight moves in a year, each year anew.
create temp table customer_versions on commit drop as
select
    customer_id,
    created_at,
    valid_from,
    coalesce(lead(valid_from) over (partition by customer_id order by valid_from), 'infinity') as valid_to,
    move_number,
    1 + floor({store_count} * power(pg_temp.unit('customer home', customer_id, move_number), 1.4))::bigint as home_store_id
from (
    select customer_id, created_at, created_at as valid_from, 0 as move_number
    from (
        select
            customer_id,
            date_trunc('second', case
                when customer_id <= {customer_count}
                    then {started_at}::timestamptz - interval '1100 days' * pg_temp.unit('customer arrival', customer_id)
                else {started_at}::timestamptz + interval '1 day'
                    * (customer_id - {customer_count} - pg_temp.unit('customer arrival', customer_id)) / {customer_rate}
            end) as created_at
        from generate_series(
            1, {customer_count} + ceil({customer_rate} * ({until}::date - {started_on}::date))::bigint
        ) as customers (customer_id)
        offset 0
    ) as arrivals
    union all
    select customer_id, null, {started_at}::timestamptz + date_trunc(
        'second', interval '365 days' * (year_number - 1 + pg_temp.unit('customer move instant', customer_id, year_number))
    ), year_number
    from generate_series(1, {customer_count}) as customers (customer_id)
    cross join generate_series(1, 1 + ({until}::date - {started_on}::date) / 365) as years (year_number)
    where pg_temp.unit('customer move', customer_id, year_number) < 0.125
) as events
where valid_from < {until}::timestamptz;

-- List prices, written .99 (or .49 below 10); every other product is priced anew once a quarter.
create temp table product_versions on commit drop as
select
    product_id,
    category_number,
    share_of_cost,
    first_price,
    price,
    created_at,
    valid_from,
    coalesce(lead(valid_from) over (partition by product_id order by valid_from), 'infinity') as valid_to
from (
    select *, lag(price) over (partition by product_id order by valid_from) as price_before
    from (
        select
            *,
            case when list_price < 10
                then greatest(0.49, round((floor(list_price * 2) / 2)::numeric, 2) - 0.01)
                else floor(list_price)::numeric + 0.99 end as price,
            case when first_list_price < 10
                then greatest(0.49, round((floor(first_list_price * 2) / 2)::numeric, 2) - 0.01)
                else floor(first_list_price)::numeric + 0.99 end as first_price
        from (
            select
                *,
                first_list_price * case when quarter_number = 0 then 1 else
                    1 + 0.006 * quarter_number + 0.3 * (pg_temp.unit('product price', product_id, quarter_number) - 0.5)
                end as list_price
            from (
                select
                    products.product_id,
                    categories.category_number,
                    0.45 + 0.3 * pg_temp.unit('product cost', products.product_id) as share_of_cost,
                    exp(ln(categories.low) + (ln(categories.high) - ln(categories.low))
                        * pg_temp.unit('product list price', products.product_id)) as first_list_price,
                    products.created_at,
                    quarters.quarter_number,
                    case when quarters.quarter_number = 0 then products.created_at else
                        {started_at}::timestamptz + date_trunc('second', interval '91 days' * (
                            quarters.quarter_number - 1
                            + pg_temp.unit('product price instant', products.product_id, quarters.quarter_number)
                        ))
                    end as valid_from
                from (
                    select
                        product_id,
                        date_trunc('second', case
                            when product_id <= {product_count}
                                then {started_at}::timestamptz
                                    - interval '2000 days' * pg_temp.unit('product arrival', product_id)
                            else {started_at}::timestamptz + interval '1 day'
                                * (product_id - {product_count} - pg_temp.unit('product arrival', product_id))
                                / {product_rate}
                        end) as created_at
                    from generate_series(
                        1, {product_count} + ceil({product_rate} * ({until}::date - {started_on}::date))::bigint
                    ) as numbers (product_id)
                    offset 0
                ) as products
                cross join generate_series(0, 1 + ({until}::date - {started_on}::date) / 91) as quarters (quarter_number)
                inner join pg_temp.categories
                    on categories.category_number = 1 + floor(
                        (select count(*) from pg_temp.categories) * pg_temp.unit('product category', products.product_id)
                    )
                where
                    quarters.quarter_number = 0
                    or pg_temp.unit('product repricing', products.product_id, quarters.quarter_number) < 0.5
                offset 0
            ) as listed
            offset 0
        ) as unrounded
        where valid_from < {until}::timestamptz and valid_from >= created_at
        offset 0
    ) as rounded
) as versions
where price_before is null or price <> price_before;

create index on customer_versions (customer_id);
analyze traded_days;
analyze customer_versions;
analyze product_versions;
