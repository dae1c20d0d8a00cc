-- Customers that came or moved in [since, until), as they are at `until`.

insert into customers
select
    customer_id,
    first_name,
    last_name,
    lower(first_name) || '.' || lower(last_name) || customer_id || '@example.' || case when customer_id % 3 = 0 then 'org' else 'com' end,
    '+1-' || area || '-555-' || lpad(floor(10000 * pg_temp.unit('customer phone', customer_id))::text, 4, '0'),
    city,
    region,
    postal || lpad(floor(100 * pg_temp.unit('customer postal code', customer_id, move_number))::text, 2, '0'),
    case
        when segment_share < 0.06 then 'business'
        when segment_share < 0.30 then 'loyal'
        when segment_share < 0.85 then 'regular'
        else 'occasional'
    end,
    case when band_share < 0.9 then pg_temp.pick(
        array['19-24', '25-34', '35-44', '45-54', '55-64', '65+'], pg_temp.unit('customer age', customer_id)
    ) end,
    case when band_share between 0.05 and 0.85 then pg_temp.pick(
        array['Under 15K', '15-24K', '25-34K', '35-49K', '50-74K', '75-99K', '100-124K', '125-149K', '150-174K'],
        pg_temp.unit('customer income', customer_id)
    ) end,
    created_at,
    valid_from
from (
    select
        versions.customer_id,
        versions.move_number,
        versions.valid_from,
        arrivals.created_at,
        cities.city,
        cities.region,
        cities.postal,
        cities.area,
        pg_temp.pick({first_names}::text[], pg_temp.unit('customer first name', versions.customer_id)) as first_name,
        pg_temp.pick({last_names}::text[], pg_temp.unit('customer last name', versions.customer_id)) as last_name,
        pg_temp.unit('customer segment', versions.customer_id) as segment_share,
        pg_temp.unit('customer bands', versions.customer_id) as band_share
    from pg_temp.customer_versions as versions
    inner join pg_temp.customer_versions as arrivals
        on versions.customer_id = arrivals.customer_id and arrivals.move_number = 0
    inner join stores on versions.home_store_id = stores.store_id
    inner join pg_temp.cities on cities.city = stores.city
    where versions.valid_to = 'infinity' and versions.valid_from >= {since}
    offset 0
) as latest
order by customer_id
on conflict (customer_id) do update set
    city = excluded.city,
    region = excluded.region,
    postal_code = excluded.postal_code,
    phone = excluded.phone,
    updated_at = excluded.updated_at
returning created_at < {since} as is_move
