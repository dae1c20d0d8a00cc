with

    orders as (select ordered_at, _loaded_at from {{ ref("stg_marketplace__orders") }}),

    -- one row, also before the first order: the platform itself sells
    final as (

        select
            cast(1 as bigint) as store_id,
            'Olist marketplace' as store_name,
            cast(null as varchar) as city,
            cast(null as varchar) as region,
            'BR' as country_code,
            'America/Sao_Paulo' as time_zone,
            cast({{ local_time("min(ordered_at)", "'America/Sao_Paulo'") }} as date) as opened_date,
            min(ordered_at) as created_at,
            min(ordered_at) as updated_at,
            min(_loaded_at) as _loaded_at
        from orders

    )

select *
from final
