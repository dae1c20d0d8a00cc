-- the marketplace has no sensors
select
    cast(null as bigint) as device_id,
    cast(null as timestamptz) as read_at,
    cast(null as double) as temperature_celsius,
    cast(null as double) as humidity_percent,
    cast(null as double) as pressure_hpa,
    cast(null as timestamptz) as received_at,
    cast(null as timestamptz) as _loaded_at,
    cast(null as varchar) as _lake_file
where false
