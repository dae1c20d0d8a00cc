with

    sellers as (select * from {{ ref("stg_marketplace__sellers") }}),

    places as (select * from {{ ref("int_marketplace_places") }}),

    known as (

        select
            {{ surrogate_key(["sellers.seller_id"]) }} as seller_key,
            sellers.seller_id,
            sellers.postal_code,
            sellers.city,
            sellers.region,
            places.latitude_degrees,
            places.longitude_degrees
        from sellers
        left join places on sellers.postal_code = places.postal_code

    ),

    unknown as (

        select
            {{ unknown_key() }} as seller_key,
            cast(null as varchar) as seller_id,
            cast(null as varchar) as postal_code,
            'unknown' as city,
            'unknown' as region,
            cast(null as double) as latitude_degrees,
            cast(null as double) as longitude_degrees

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
