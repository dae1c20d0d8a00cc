-- the marketplace has no sensors
select
    cast(null as bigint) as device_id,
    cast(null as bigint) as store_id,
    cast(null as varchar) as device_code,
    cast(null as varchar) as model_name,
    cast(null as timestamptz) as installed_at,
    cast(null as boolean) as is_active,
    cast(null as timestamptz) as created_at,
    cast(null as timestamptz) as updated_at,
    cast(null as timestamptz) as _loaded_at
where false
