-- The stores and their two sensors each: one between the shelves, one in the cold room.

insert into stores
select
    store_id,
    city || ' ' || pg_temp.pick({streets}::text[], pg_temp.unit('store street', store_id)),
    city,
    region,
    'US',
    time_zone,
    opened_date,
    opened_date::timestamptz + interval '9 hours',
    opened_date::timestamptz + interval '9 hours'
from (
    select
        store_id,
        cities.*,
        {started_on}::date - 400 - floor(6000 * pg_temp.unit('store opening', store_id))::int as opened_date
    from generate_series(1, {store_count}) as numbers (store_id)
    inner join pg_temp.cities on cities.city_number = 1 + (store_id - 1) % (select count(*) from pg_temp.cities)
    offset 0
) as opened
order by store_id;

insert into devices
select
    device_id,
    store_id,
    'S' || lpad(store_id::text, 4, '0') || '-' || case when device_id % 2 = 1 then 'SHELF' else 'COLD' end,
    pg_temp.pick({device_models}::text[], pg_temp.unit('device model', device_id)),
    installed_at,
    true,
    installed_at,
    installed_at
from (
    select
        device_id,
        (device_id + 1) / 2 as store_id,
        {started_at}::timestamptz
        - date_trunc('second', interval '1 day' * (10 + 380 * pg_temp.unit('device installation', device_id)))
            as installed_at
    from generate_series(1, 2 * {store_count}) as numbers (device_id)
    offset 0
) as installed
order by device_id;
