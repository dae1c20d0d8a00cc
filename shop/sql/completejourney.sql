-- The grocer's files, copied as they are into pg_temp.journey_*, as a shop. The people, stores and products are as old
-- as the first sale they could have been part of: the files know no older date.

insert into customers (customer_id, segment_code, age_band, income_band, created_at, updated_at)
select buyers.customer_id, people.household_comp, people.age, people.income, buyers.first_seen_at, buyers.first_seen_at
from (
    select household_id::numeric::bigint as customer_id, min(transaction_timestamp) as first_seen_at
    from pg_temp.journey_transactions_sample
    group by 1
) as buyers
left join pg_temp.journey_demographics as people on buyers.customer_id = people.household_id::numeric::bigint
order by buyers.customer_id;

insert into products (
    product_id, product_name, department_name, category_name, brand_name, package_size, created_at, updated_at
)
select
    product_id::numeric::bigint,
    coalesce(product_type, product_category, department, 'Product ' || product_id::numeric::bigint),
    department,
    product_category,
    brand,
    package_size,
    opening.first_seen_at,
    opening.first_seen_at
from pg_temp.journey_products
cross join (select min(transaction_timestamp) as first_seen_at from pg_temp.journey_transactions_sample) as opening
order by 1;

insert into stores (store_id, store_name, country_code, time_zone, created_at, updated_at)
select
    store_id::numeric::bigint,
    'Store ' || store_id::numeric::bigint,
    'US',
    {time_zone},
    min(min(transaction_timestamp)) over (),
    min(min(transaction_timestamp)) over ()
from pg_temp.journey_transactions_sample
group by 1, 2
order by 1;

insert into orders (
    order_id, customer_id, store_id, status_code, currency_code, ordered_at, paid_at, shipped_at, delivered_at, updated_at
)
select distinct
    basket_id::numeric::bigint,
    household_id::numeric::bigint,
    store_id::numeric::bigint,
    'delivered',
    'USD',
    transaction_timestamp,
    transaction_timestamp,
    transaction_timestamp,
    transaction_timestamp,
    transaction_timestamp
from pg_temp.journey_transactions_sample
order by 1;

insert into order_items
select
    basket_id::numeric::bigint,
    row_number() over (partition by basket_id::numeric order by product_id::numeric, position),
    product_id::numeric::bigint,
    quantity::integer,
    sales_value::numeric(12, 2),
    retail_disc::numeric(12, 2),
    coupon_disc::numeric(12, 2),
    coupon_match_disc::numeric(12, 2),
    transaction_timestamp,
    transaction_timestamp
from pg_temp.journey_transactions_sample
order by 1, 2;
