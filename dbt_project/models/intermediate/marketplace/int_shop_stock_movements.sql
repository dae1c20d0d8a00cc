-- the sellers keep the stock, the marketplace has none
select
    cast(null as bigint) as movement_id,
    cast(null as bigint) as store_id,
    cast(null as varchar) as product_id,
    cast(null as timestamptz) as moved_at,
    cast(null as varchar) as reason_code,
    cast(null as integer) as quantity_change,
    cast(null as timestamptz) as received_at,
    cast(null as timestamptz) as _loaded_at
where false
