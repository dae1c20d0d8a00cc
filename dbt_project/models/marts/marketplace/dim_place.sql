with

    places as (select * from {{ ref("int_marketplace_places") }}),

    known as (select {{ surrogate_key(["postal_code"]) }} as place_key, * from places),

    unknown as (

        select
            {{ unknown_key() }} as place_key,
            cast(null as varchar) as postal_code,
            'unknown' as city,
            'unknown' as region,
            cast(null as double) as latitude_degrees,
            cast(null as double) as longitude_degrees,
            cast(0 as bigint) as point_count,
            cast(0 as bigint) as repeated_point_count,
            cast(0 as bigint) as outside_point_count

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
