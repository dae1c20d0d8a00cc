with

    stores as (select * from {{ ref("int_shop_stores") }}),

    known as (

        select
            {{ surrogate_key(["store_id"]) }} as store_key,
            store_id,
            store_name,
            city,
            region,
            country_code,
            time_zone,
            opened_date,
            created_at,
            updated_at
        from stores

    ),

    unknown as (

        select
            {{ unknown_key() }} as store_key,
            cast(null as bigint) as store_id,
            'unknown store' as store_name,
            cast(null as varchar) as city,
            cast(null as varchar) as region,
            cast(null as varchar) as country_code,
            'UTC' as time_zone,
            cast(null as date) as opened_date,
            cast(null as timestamptz) as created_at,
            cast(null as timestamptz) as updated_at

    ),

    final as (

        select *
        from known
        union all
        select *
        from unknown

    )

select *
from final
