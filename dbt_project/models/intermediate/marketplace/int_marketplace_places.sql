with

    points as (select * from {{ ref("stg_marketplace__geolocation") }}),

    -- Brazil lies within these degrees; what lies elsewhere is counted and moves no place
    judged as (

        select
            *,
            latitude_degrees between -33.8 and 5.3 and longitude_degrees between -74.0 and -28.8 as is_inside,
            row_number() over (
                partition by postal_code, latitude_degrees, longitude_degrees, city, region
                order by file_name, row_number
            )
            > 1 as is_repeated
        from points

    ),

    final as (

        select
            postal_code,
            mode(city order by city) as city,
            mode(region order by region) as region,
            median(case when is_inside and not is_repeated then latitude_degrees end) as latitude_degrees,
            median(case when is_inside and not is_repeated then longitude_degrees end) as longitude_degrees,
            count(*) as point_count,
            count(case when is_repeated then 1 end) as repeated_point_count,
            count(case when not is_inside then 1 end) as outside_point_count
        from judged
        group by postal_code

    )

select *
from final
