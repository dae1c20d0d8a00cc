with

    source as (select * from {{ source("shop", "order_events") }}),

    renamed as (select order_id, version, event_type, payload, occurred_at, recorded_at, _loaded_at, from source)

select *
from renamed
